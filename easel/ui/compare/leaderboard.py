"""The folds of the Compare tab that open a saved comparison and show the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from easel.compare.bundle import Bundle, read_zip
from easel.compare.prompt_kinds import KINDS
from easel.compare.votes import MIN_PAIR_VOTES, Standing, clip_agreement, leaderboard
from easel.guard.turns import reading
from easel.guard.visitors import session_of, visitor_of
from easel.ui.compare.form import default_panes, panes_of, render_forms
from easel.ui.compare.parts import EXAMPLE, CompareParts
from easel.ui.compare.render import failed_view, over_view
from easel.ui.compare.share import open_comparison, read_bundle
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.invitation import invitation, served
from easel.ui.parts.lines import Updates
from easel.ui.parts.option_form import filled_in
from easel.ui.parts.page_words import fill_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import counted, say, written
from pipelines.core.images import suffix_of
from pipelines.core.request import IMAGE_PROMPT


def build_open(playground: Playground, store: PictureStore, parts: CompareParts) -> None:
    """The fold that opens a saved comparison, and the button that opens one by Easel.

    Args:
        playground: what there is.
        store: where its pictures are written.
        parts: the tab's components.
    """
    with gr.Accordion(strings.OPEN_COMPARISON, open=False, elem_id="compare-open"):
        upload = gr.File(label=strings.OPEN_INFO, file_count="single", file_types=[".zip"],
                         type="filepath", height=64, elem_classes="upload",
                         elem_id="compare-upload")

    def opened(bundle: Bundle, request: gr.Request) -> Updates:
        comparison = open_comparison(bundle, playground, store, session_of(request))
        playground.comparisons.put(comparison, visitor_of(request))
        names = playground.registry.names()
        panes = [pane if pane["pipeline"] in names else
                 {**pane, **default_panes(playground.registry)[0]}
                 for pane in panes_of(comparison)]
        given = _inputs(bundle, comparison.plan.pictures, store)
        return {file: gr.update(value=given.get(name)) for name, file
                in parts.pictures.files.items()} | {
                parts.prompt: comparison.prompt,
                parts.forms: filled_in(render_forms(playground.registry, panes)),
                parts.panes: json.dumps(panes),
                parts.budget: str(comparison.plan.budget_s or "")} | over_view(
                    parts, comparison, store)

    @shows_errors_by(lambda sentence: failed_view(parts, sentence))
    def open_saved(path: str | None, request: gr.Request) -> Updates:
        if not path:
            return {parts.prompt: gr.skip()}
        with reading.turn():
            return opened(read_bundle(path), request)

    @shows_errors_by(lambda sentence: failed_view(parts, sentence))
    def open_example(request: gr.Request) -> Updates:
        with reading.turn():
            updates = opened(read_zip(EXAMPLE.read_bytes()), request)
        return updates | {parts.prompt: say(updates[parts.prompt])}

    pictures = served(parts.alert, _example_pictures(store))
    fill_html(parts.alert, lambda: f'<p class="hint">{strings.COMPARE_EMPTY}</p>' + invitation(
        strings.COMPARE_EXAMPLE, pictures, "compare-example"))
    parts.example.click(open_example, None, parts.changed(),
                        **dict[str, Any](LIVE, trigger_mode="once"))
    upload.upload(open_saved, upload, parts.changed(), show_progress="hidden",
                  api_visibility="private")


def _inputs(bundle: Bundle, given: Mapping[str, bytes], store: PictureStore) -> dict[str, Any]:
    """The pictures that a comparison was given, as files where a component may hand them out.

    Args:
        bundle: that it was opened from; ``given`` are its pictures, which tell nothing more.
        given: by name.
        store: where they are written.
    """
    if not given:
        return {}
    folder = store.new_folder()
    made_of = {each.name: [each.sha256] for each in bundle.facts.inputs}
    paths = {name: str(store.write(folder / f"{name}.{suffix_of(data)}", data,
                                   made_of.get(name, ())))
             for name, data in sorted(given.items())}
    prompts = [path for name, path in paths.items() if name.startswith(IMAGE_PROMPT)]
    return {**paths, "image_prompts": prompts or None}


def _example_pictures(store: PictureStore) -> list[Path]:
    """The pictures of the comparison by Easel, as files; none where it is not here."""
    if not EXAMPLE.is_file():
        return []
    folder = store.new_folder()
    files = read_zip(EXAMPLE.read_bytes()).files
    return [store.write(folder / name.replace("/", "-"), data, ()) for name, data in files.items()
            if name.endswith(".png")]


def build_leaderboard(playground: Playground, votes: Sequence[Any]) -> None:
    """The fold with the leaderboard, drawn anew when it is opened and after each of ``votes``."""
    with gr.Accordion(strings.LEADERBOARD, open=False, elem_id="leaderboard") as fold:
        with gr.Row():
            kind = gr.Dropdown([(strings.LEADERS_ALL, ""), *KINDS], value="", min_width=140,
                               label=strings.LEADERS_KIND, elem_id="leaders-kind")
            open_too = gr.Checkbox(label=strings.LEADERS_OPEN, container=False,
                                   elem_id="leaders-open")
        table = gr.HTML("", elem_id="leaders", **PLAIN)

    @shows_errors_by(alert)
    def show(kind: str, open_too: bool) -> str:
        return render_leaders(playground, kind, open_too)

    for event in (fold.expand, kind.change, open_too.change, *(vote.then for vote in votes)):
        event(show, [kind, open_too], table, **LIVE)


def render_leaders(playground: Playground, kind: str, open_too: bool) -> str:
    """The leaderboard as a table.

    Args:
        playground: whose votes.
        kind: only of prompts of this kind; empty for all.
        open_too: also votes on panes that had names.
    """
    votes = playground.votes.votes(kind or None, blind=None if open_too else True)
    standings = leaderboard(votes)
    if not standings:
        none = strings.LEADERS_NONE if open_too else strings.LEADERS_NONE_BLIND
        return f'<p class="hint">{escape(none)}</p>'
    titles = {pipeline.name: pipeline.title for pipeline in playground.registry}
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in strings.LEADERS_HEADS)
    rows = "".join(_row(rank, s, titles.get(s.name, s.name))
                   for rank, s in enumerate(standings, 1))
    few = ""
    if not all(standing.settled for standing in standings):
        few = f'<p class="hint">{escape(strings.LEADERS_FEW.format(MIN_PAIR_VOTES))}</p>'
    agreed, judged = clip_agreement(votes)
    clip = f" {counted(judged, strings.LEADERS_CLIP, agreed)}" if judged else ""
    return (f'<div class="wide"><table class="figures"><thead><tr>{heads}</tr></thead><tbody>{rows}'
            f'</tbody></table></div>{few}<p class="hint">{escape(strings.LEADERS_INFO + clip)}</p>')


def _row(rank: int, standing: Standing, title: str) -> str:
    place, points, between = "–", "–", "–"
    if standing.settled:
        place, points = str(rank), f"{standing.points:.0f}"
        between = strings.LEADERS_RANGE.format(standing.low, standing.high)
    return (f"<tr><td>{place}</td><th scope='row'>{escape(title)}</th><td>{points}</td>"
            f"<td>{between}</td><td>{standing.votes}</td>"
            f"<td>{written(f'{standing.wins:g}')}</td></tr>")
