"""The endpoints of comparisons: run one, vote on it, read the leaderboard, save it, open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import gradio as gr

from easel.compare.bundle import Bundle
from easel.compare.plan import (
    MAX_BUDGET_S,
    MAX_PANES,
    MIN_BUDGET_S,
    MIN_PANES,
    Plan,
    plan_comparison,
)
from easel.compare.prompt_kinds import KINDS
from easel.compare.votes import clip_agreement, leaderboard
from easel.guard.turns import reading
from easel.guard.visitors import session_of, visitor_of
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.form import panes_of
from easel.ui.compare.render import why_uncounted
from easel.ui.compare.share import open_comparison, read_bundle, save_comparison
from easel.ui.compare.state import Comparison
from easel.ui.parts.endpoints import OBJECT, PROMPT, STRING, add_endpoint, json_value, picture_file
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import read_pictures
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.request import PICTURES, SEED_COUNT
from pipelines.core.sentences import several

PLACE = "compare"
ZIP = "A comparison that Easel saved, as a zip file"


def add_compare_endpoints(playground: Playground, store: PictureStore) -> None:
    """Add the endpoints to the page under construction."""
    _add_compare(playground, store)
    _add_votes(playground)


def _add_compare(playground: Playground, store: PictureStore) -> None:
    names = list(playground.registry.names())

    @one_sentence
    def compare(request: gr.Request, prompt: Any = strings.FIRST_PROMPT, panes: Any = None,
                seed: Any = None, budget_s: Any = None, init_image: str | None = None,
                image_prompts: list[str] | None = None, mask: str | None = None,
                ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        def plan() -> Plan:
            pictures = read_pictures(init_image, image_prompts, mask)
            with reading.turn_for(pictures):
                return plan_comparison(playground.registry, prompt, panes, seed, budget_s, pictures)

        yield from stream_comparison(playground, store, plan, request)

    two = [{"pipeline": names[0]}, {"pipeline": names[-1]}]
    add_endpoint(compare, [
        json_value(strings.FIRST_PROMPT, PROMPT, "What panes draw without a prompt of their own"),
        json_value(two, {"type": "array", "minItems": MIN_PANES, "maxItems": MAX_PANES,
                         "items": OBJECT},
                   'Panes, each with "pipeline" and perhaps "prompt", "num_images", "seed" and '
                   '"options"'),
        json_value(None, {"type": "integer", "minimum": 0, "maximum": SEED_COUNT - 1},
                   "Seed of every pane that names none; null for a new one, the same for all"),
        json_value(None, {"type": "number", "minimum": MIN_BUDGET_S, "maximum": MAX_BUDGET_S},
                   "Device seconds for each pane, which then keeps its best so far; null for none"),
        *map(picture_file, PICTURES),
    ], [
        gr.File(visible=False, file_count="multiple", label="PNG files, pane by pane"),
        json_value({}, OBJECT, "The comparison's id and its panes, with what each took"),
    ], "Draw a prompt in two to four panes at the same time, step by step in turn.")


def stream_comparison(playground: Playground, store: PictureStore, plan: Callable[[], Plan],
                      request: gr.Request) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
    """Run a comparison for a program.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        plan: checks what was asked for and says what runs.
        request: of the program.

    Yields:
        Nothing and the state while it lasts; then the files, pane by pane, and the state.

    Raises:
        EaselError: what went wrong.
    """
    session, visitor = session_of(request), visitor_of(request)
    run = playground.runs.start(session, visitor, PLACE)
    try:
        planned = plan()
        comparison = start_comparison(playground, planned, session, blind=False)
        playground.comparisons.put(comparison, visitor)
        events = playground.backend.compare(
            planned.requests, run.next_jobs(len(planned.requests)), planned.budget_s,
            owner=visitor)
        with closing(events):
            for _ in fold_events(comparison, events, playground, store):
                yield None, describe(comparison)
        if not (files := files_of(comparison)):
            raise EaselError(several(p.panel.status() for p in comparison.panes))
        yield files, describe(comparison)
    finally:
        playground.runs.end(run)


def files_of(comparison: Comparison) -> list[str]:
    """The PNG files of all panes, in the order of the panes."""
    return [str(card.path) for card in comparison.cards()]


def describe(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON: its id, and for each pane its state and pictures."""
    return {"comparison": comparison.id, "panes": [{
        "pipeline": pane.panel.name, "prompt": pane.request.prompt,
        "phase": pane.panel.phase, "step": pane.panel.step,
        "total": pane.panel.total, "elapsed_s": round(pane.panel.elapsed_s, 3),
        "device_s": round(pane.usage.device_s, 3),
        "peak_memory_bytes": pane.usage.peak_memory_bytes,
        "message": pane.panel.message or pane.notice,
        "pictures": [{"seed": card.seed, "clip": card.clip_score,
                      "guide_score_not_comparable": card.guide_score}
                     for card in pane.panel.cards],
    } for pane in comparison.panes]}


def _add_votes(playground: Playground) -> None:
    @one_sentence
    def vote(request: gr.Request, comparison: Any, choice: Any) -> dict[str, Any]:
        if not isinstance(comparison, str):
            raise InvalidRequest("The comparison must be the id that /compare gave.")
        found = playground.comparisons.get(comparison, session_of(request),
                                           visitor_of(request))
        cast_vote(playground, found, choice, visitor_of(request))
        said = why_uncounted(found)
        return {"choice": found.choice, **({"message": said} if said else {})}

    @one_sentence
    def leaders(kind: Any = None) -> dict[str, Any]:
        if kind not in (None, "", *KINDS):
            raise InvalidRequest("There is no kind of prompt called {!r}; there are: {}.",
                                 str(kind)[:40], ", ".join(KINDS))
        votes = playground.votes.votes(kind or None, blind=None)
        agreed, judged = clip_agreement(votes)
        return {"votes": len(votes), "standings": [asdict(s) for s in leaderboard(votes)],
                "clip_agrees": agreed, "clip_judged": judged}

    add_endpoint(vote, [
        json_value("", STRING, "Id of a comparison of this client"),
        json_value(0, {}, 'Index of the best pane, "tie" or "bad"'),
    ], [json_value({}, OBJECT, "What was counted, or why it was not")],
        "Vote on a comparison, once.", queue=False)
    add_endpoint(leaders, [
        json_value(None, {"enum": [None, *KINDS]}, "Only prompts of this kind; null for all"),
    ], [json_value({}, OBJECT, "Points with 95 % intervals, and how often CLIP agrees")],
        "The leaderboard of all votes, by the Bradley-Terry model.")


def add_bundle_endpoints(playground: Playground, store: PictureStore) -> None:
    """Add the endpoints to the page under construction."""
    @one_sentence
    def bundle_export(request: gr.Request, comparison: Any) -> str:
        if not isinstance(comparison, str):
            raise InvalidRequest("The comparison must be the id that /compare gave.")
        found = playground.comparisons.get(comparison, session_of(request),
                                           visitor_of(request))
        with reading.turn():
            return save_comparison(found, store)

    @one_sentence
    def bundle_open(request: gr.Request, bundle: str | None) -> tuple[list[str], dict[str, Any]]:
        with reading.turn():
            comparison = open_comparison(_read(bundle), playground, store, session_of(request))
        playground.comparisons.put(comparison, visitor_of(request))
        return files_of(comparison), {
            **describe(comparison), "prompt": comparison.prompt, "vote": comparison.choice,
            "budget_s": comparison.plan.budget_s, "requests": panes_of(comparison)}

    @one_sentence
    def bundle_replay(request: gr.Request, bundle: str | None,
                      ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        def plan() -> Plan:
            with reading.turn():
                saved = _read(bundle)
                facts = saved.facts
                return plan_comparison(playground.registry, facts.prompt, facts.requests(),
                                       budget_s=facts.budget_s, pictures=saved.pictures)

        yield from stream_comparison(playground, store, plan, request)

    def files() -> gr.File:
        return gr.File(visible=False, file_count="multiple", label="PNG files, pane by pane")

    def upload() -> gr.File:
        return gr.File(visible=False, file_types=[".zip"], type="filepath", label=ZIP)

    add_endpoint(
        bundle_export,
        [json_value("", STRING, "Id of a finished comparison of this client")],
        [gr.File(visible=False, label="Zip with pictures, facts, and an index.html that opens "
                                      "without Easel")],
        "Save a comparison as a zip file.")
    add_endpoint(
        bundle_open, [upload()],
        [files(), json_value({}, OBJECT, "The comparison's new id, its panes, prompt and vote, and "
                                         "what it takes to draw it again")],
        "Open a saved comparison, as if it had just been drawn.")
    add_endpoint(
        bundle_replay, [upload()],
        [files(), json_value({}, OBJECT, "The new comparison's id and its panes, with what each "
                                         "took")],
        "Draw a saved comparison again with its seeds and options.")


def _read(bundle: str | None) -> Bundle:
    if not bundle:
        raise InvalidRequest("There is no zip file to open.", field="bundle")
    return read_bundle(bundle)
