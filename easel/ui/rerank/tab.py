"""Rerank: many pictures, several prompts, one or more CLIPs; best first."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from easel.compare.ranking import Ranking, rank_pictures, read_prompts
from easel.guard.made_of import origins
from easel.guard.visitors import visitor_of
from easel.serving.told import hearing
from easel.ui.lab.render import render_note
from easel.ui.models.fetch import Fetch, render_missing
from easel.ui.parts.invitation import invitation
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import fill_html, worded_html
from easel.ui.parts.panel import seconds
from easel.ui.parts.pictures import PictureStore, read_shown
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.samples import load_samples
from easel.ui.parts.suited import Suited, build_wish, render_suited, suited
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import hidden_alert
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_many
from easel.ui.playground import Playground
from easel.ui.rerank.render import render_ranking
from easel.ui.rerank.sources import (
    MAX_FILES,
    SourceFile,
    check_clips,
    chosen_files,
    history_files,
    installed_clips,
    run_files,
    uploaded_files,
)
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Progress
from pipelines.core.files import safe_stem
from pipelines.suited import BY_PICTURES

PLACE = "rerank"
THUMBNAIL_PX = 256


@dataclass
class RerankParts:
    """The components of the tab."""

    source: gr.Radio
    files: gr.File
    chosen: gr.State
    chosen_note: gr.HTML
    count: gr.Number
    contains: gr.Textbox
    wanted: gr.Textbox
    unwanted: gr.Textbox
    clips: gr.CheckboxGroup
    keep: gr.Number
    run: gr.Button
    example: gr.Button
    status: gr.HTML
    details: gr.HTML
    save: gr.DownloadButton


def build_rerank(playground: Playground, store: PictureStore, tasks: Tasks, tab: gr.Tab,
                 fetch: Fetch | None = None) -> RerankParts:
    """Lay the tab out and connect it; the history puts what is chosen there into ``chosen``.

    Args:
        playground: what there is.
        store: where what is saved is written.
        tasks: of the page.
        tab: the one that is built in.
        fetch: downloads CLIPs that are not here; None where nothing can be.
    """
    def offered() -> dict[str, str]:
        return installed_clips(playground.models.catalogue if playground.models else None)

    clips = offered()
    with gr.Column(elem_id="rerank-desk"):
        with gr.Column(elem_id="rerank-ask"):
            source, files, count, contains, note = _build_source(playground.history is not None)
            with gr.Row(elem_classes="lab-small"):
                example = gr.Button(strings.MATRIX_EXAMPLE, size="sm", elem_id="rerank-example")
            wanted = gr.Textbox(strings.FIRST_PROMPT, label=strings.PROMPTS_FOR, lines=2,
                                info=strings.PROMPTS_FOR_INFO, elem_id="rerank-prompts")
            unwanted = gr.Textbox(label=strings.PROMPTS_AGAINST, lines=1, elem_id="rerank-against",
                                  info=strings.PROMPTS_AGAINST_INFO)
            chosen = gr.CheckboxGroup([(strings.BY_PICTURES, BY_PICTURES),
                                       *((title, name) for name, title in clips.items())],
                                      value=[BY_PICTURES], label=strings.CLIPS_LABEL,
                                      info=strings.CLIPS_INFO, elem_id="rerank-clips")
            for field in (wanted, unwanted):
                build_note(playground.reader, field, f"{field.elem_id}-note", chosen)
            away = gr.HTML("", elem_id="rerank-away", **PLAIN)
            if fetch is not None:
                _connect_fetch(playground, chosen, away, fetch, offered)
            build_wish("rerank", chosen)
            keep = gr.Number(0, label=strings.KEEP_BEST, info=strings.KEEP_BEST_INFO, precision=0,
                             minimum=0, maximum=MAX_FILES, elem_id="rerank-keep")
            run = gr.Button(strings.RERANK, variant="primary", size="lg", elem_id="rerank-run")
        with gr.Column(elem_id="rerank-stage"):
            status = worded_html(lambda: f'<p class="hint">{strings.RERANK_EMPTY}</p>')
            save = gr.DownloadButton(strings.SAVE_BEST, size="sm", visible=False,
                                     elem_id="rerank-save")
            details = gr.HTML("", elem_id="rerank-details", **PLAIN)
    parts = RerankParts(source, files, gr.State([]), note, count, contains, wanted, unwanted,
                        chosen, keep, run, example, status, details, save)
    _connect(playground, store, parts, offered, tasks, tab)
    return parts


def _connect_fetch(playground: Playground, chosen: gr.CheckboxGroup, away: gr.HTML, fetch: Fetch,
                   offered: Callable[[], dict[str, str]]) -> None:
    """Offer what is here, and below it the downloads of what is not."""
    models = playground.models
    assert models is not None

    def show(request: gr.Request) -> tuple[Any, str]:
        choices = [(say(strings.BY_PICTURES), BY_PICTURES),
                   *((say(title), name) for name, title in offered().items())]
        rows = [row for row in models.rows() if row.family == "clip"]
        notes = render_missing(rows, playground.admins.may(request))
        if notes:
            notes = f"<details><summary>{escape(strings.MORE_CLIPS)}</summary>{notes}</details>"
        return gr.update(choices=choices), notes

    # Not when the tab is opened: its fields would then settle later (see easel/ui/parts/late.py).
    fetch.html.change(show, None, [chosen, away], **LIVE)


def _build_source(has_history: bool) -> tuple[gr.Radio, gr.File, gr.Number, gr.Textbox, gr.HTML]:
    choices = [(strings.SOURCE_FILES, "files"), (strings.SOURCE_LAST, "last")]
    if has_history:
        choices += [(strings.SOURCE_HISTORY, "history"), (strings.SOURCE_CHOSEN, "chosen")]
    source = gr.Radio(choices, value="files", label=strings.RERANK_SOURCE,
                      elem_id="rerank-source")
    files = gr.File(label=strings.RERANK_FILES, file_count="multiple", type="filepath",
                    file_types=IMAGE_SUFFIXES, height=120, elem_id="rerank-files",
                    elem_classes="upload")
    # What is too much is refused before it is sent (page.js).
    worded_html(lambda: hidden_alert(most=MAX_FILES), elem_id="rerank-limit")
    with gr.Row(visible=False) as row:
        count = gr.Number(16, label=strings.RERANK_COUNT, precision=0, minimum=1,
                          maximum=MAX_FILES, min_width=80)
        contains = gr.Textbox(label=strings.RERANK_FILTER, min_width=120)
    note = gr.HTML("", visible=False, elem_id="rerank-chosen", **PLAIN)
    source.change(lambda chosen: (gr.update(visible=chosen == "files"),
                                  gr.update(visible=chosen == "history"),
                                  gr.update(visible=chosen == "chosen")),
                  source, [files, row, note], queue=False, show_progress="hidden",
                  api_visibility="private")
    return source, files, count, contains, note


def _connect(playground: Playground, store: PictureStore, parts: RerankParts,
             offered: Callable[[], dict[str, str]], tasks: Tasks, tab: gr.Tab) -> None:
    def rerank(asked: Asked) -> Generator[Updates]:
        start_s, clips = time.monotonic(), offered()
        prompts = read_prompts(asked.text(parts.wanted).splitlines(),
                               asked.text(parts.unwanted).splitlines())
        wanted = list(asked.values[parts.clips] or [])
        check_clips([each for each in wanted if each != BY_PICTURES], clips)
        sources = _sources(playground, parts, asked)
        paths = [source.path for source in sources]
        yield {parts.status: f'<p class="hint">{strings.DRAWING_RANKS}</p>',
               parts.save: gr.update(visible=False)}
        images = read_many(paths)
        thumbnails = read_many(paths, THUMBNAIL_PX)

        def hear(progress: Progress) -> None:
            told = say(progress.message or strings.DRAWING_RANKS)
            asked.post({parts.status: f'<p class="hint">{escape(told)}</p>'})

        with hearing(hear):
            judges = _judges(playground, wanted, paths, asked, clips)
            ranking = rank_pictures(images, prompts, [each.model_id for each in judges],
                                    playground.backend.embed)
        names = [source.name for source in sources]
        keep = _keep(asked.values[parts.keep], len(images))
        said = strings.RANKED_STATUS.format(len(images), len(prompts),
                                            seconds(time.monotonic() - start_s))
        judged = "".join(render_suited(each, clips, PLACE) for each in judges)
        grey = [any(flags) for flags in zip(*(each.of(paths) for each in judges), strict=True)]
        others = _other_words(sources, asked.text(parts.wanted).splitlines())
        yield {parts.status: f'<p class="hint" role="status">{escape(said)}</p>{others}{judged}',
               parts.details: render_ranking(ranking, thumbnails, names, clips, keep, grey),
               parts.save: gr.update(visible=True,
                                     value=str(_save(store, ranking, sources, keep)))}

    def words(source: Any, request: gr.Request) -> Any:
        """The last run's pictures come with their prompt."""
        if source != "last":
            return gr.skip()
        cards = playground.runs.last_cards(request.session_hash or "", visitor_of(request))
        return cards[0].prompt if cards else gr.skip()

    parts.source.input(words, parts.source, parts.wanted, **LIVE)
    fields = [parts.source, parts.files, parts.chosen, parts.count, parts.contains, parts.wanted,
              parts.unwanted, parts.clips, parts.keep]
    task = tasks.add(PLACE, parts.run, None, [parts.details, parts.save], parts.status)
    task.starts([parts.run.click], rerank, fields)
    samples = load_samples(parts.details, playground.registry)
    parts.example.visible = bool(samples)
    fill_html(parts.status, lambda: f'<p class="hint">{strings.RERANK_EMPTY}</p>' + invitation(
        strings.MATRIX_EXAMPLE, [str(card.path) for card in samples], "rerank-example"))
    filled = parts.example.click(
        lambda: ("files", [str(card.path) for card in samples],
                 "\n".join(say(card.prompt) for card in samples[:2])),
        None, [parts.source, parts.files, parts.wanted], **LIVE)
    task.starts([filled.then], rerank, fields)
    task.returns(fields, [tab])


def _judges(playground: Playground, wanted: Sequence[str], paths: Sequence[Path], asked: Asked,
            here: Collection[str]) -> list[Suited]:
    """The CLIPs that judge, each once, with the pictures that it cannot judge."""
    found = [suited(playground.backend, each, paths, asked.run.next_job(), here)
             for each in wanted]
    return list({each.model_id: each for each in found}.values())


def _sources(playground: Playground, parts: RerankParts, asked: Asked) -> list[SourceFile]:
    values, run = asked.values, asked.run
    if values[parts.source] == "history" and playground.history is not None:
        return history_files(playground.history, run.visitor, values[parts.count],
                             asked.text(parts.contains))
    if values[parts.source] == "chosen":
        if not values[parts.chosen]:
            raise InvalidRequest(strings.NOTHING_CHOSEN, field="images")
        return chosen_files(playground.history, run.visitor, values[parts.chosen])
    if values[parts.source] == "last":
        return run_files(playground.runs.last_cards(run.session, run.visitor))
    return uploaded_files(values[parts.files] or [])


def _other_words(sources: Sequence[SourceFile], lines: Sequence[str]) -> str:
    """A note where pictures were drawn for something that they are not put in order by."""
    asked = {line.strip() for line in lines}
    drawn = list(dict.fromkeys(each.prompt for each in sources if each.prompt))
    if not drawn or any(prompt.strip() in asked for prompt in drawn):
        return ""
    return render_note(strings.RERANK_OTHER_WORDS.format(drawn[0]))


def _keep(value: Any, count: int) -> int:
    return min(count, int(value)) if value and value > 0 else count


def _save(store: PictureStore, ranking: Ranking, sources: Sequence[SourceFile], keep: int) -> Path:
    """The best pictures' files as they came, in a zip, named by rank."""
    buffer, made_of = io.BytesIO(), list[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for rank, index in enumerate(ranking.order[:keep], 1):
            source = sources[index]
            name = f"{rank:02}-{safe_stem(Path(source.name).stem)}{source.path.suffix.lower()}"
            data = read_shown(source.path)
            archive.writestr(name, data)
            made_of += origins(source.path, data)
    return store.write(store.new_folder() / "best.zip", buffer.getvalue(), made_of)
