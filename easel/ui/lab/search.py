"""Search: a text, a picture, both, or one text without another; near-duplicates."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.visitors import visitor_of
from easel.history.days import parse_day
from easel.history.store import History
from easel.search.duplicates import near_duplicates
from easel.search.query import Filters, Hit, allowed, search
from easel.search.snapshot import Snapshot
from easel.ui.generate.recall import in_cache
from easel.ui.lab.example import build_collection_example, connect_collection_example
from easel.ui.lab.lab import HISTORY, UPLOADS, Lab, first_files
from easel.ui.lab.render import render_faults, render_groups, render_hits, render_note
from easel.ui.lab.steps import LabPart, Shown, Steps
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.suited import Suited, render_suited
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import LIVE
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_small
from easel.words import strings
from easel.words.language import counted, figure, say
from pipelines.core.errors import Cancelled, InvalidRequest

ALIKE = 0.97
MAX_GROUPS = 30
MAX_RESULTS = 100


@dataclass
class Fields:
    """What a person fills in."""

    clip: gr.Dropdown
    where: gr.Dropdown
    uploads: gr.File
    text: gr.Textbox
    minus: gr.Textbox
    like: gr.File
    weight: gr.Slider
    threshold: gr.Textbox
    limit: gr.Slider
    since: gr.Textbox
    until: gr.Textbox
    generators: gr.Dropdown

    def all(self) -> list[Any]:
        """The components, as inputs of an event."""
        return list(vars(self).values())


def build_where(lab: Lab, name: str) -> tuple[gr.Dropdown, gr.File]:
    """Which pictures: a place, and the files where the place is an upload."""
    places = lab.places()
    where = gr.Dropdown(places, value=places[0][1], label=strings.LAB_WHERE,
                        filterable=bool(lab.roots), allow_custom_value=bool(lab.roots),
                        elem_id=f"lab-{name}-where",
                        info=strings.LAB_WHERE_FOLDERS_INFO if lab.roots else None)
    uploads = gr.File(label=strings.LAB_PICTURES, file_count="multiple", type="filepath",
                      file_types=IMAGE_SUFFIXES, height=120, elem_classes="upload",
                      visible=places[0][1] == UPLOADS, elem_id=f"lab-{name}-pictures")
    where.change(lambda place: gr.update(visible=place == UPLOADS), where, uploads, **LIVE)
    return where, uploads


def build_search(lab: Lab, clip: gr.Dropdown, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the part out and connect it; ``clip`` chooses the CLIP."""
    with gr.Column(elem_classes="lab-desk"):
        with gr.Column(elem_classes="lab-ask"):
            where, uploads = build_where(lab, "search")
            example = build_collection_example("search")
            text = gr.Textbox(label=strings.LAB_TEXT, placeholder=strings.LAB_TEXT_PLACEHOLDER,
                              max_lines=2, elem_id="lab-text")
            build_note(lab.playground.reader, text, f"{text.elem_id}-note", clip)
            minus = gr.Textbox(label=strings.LAB_MINUS, max_lines=2, elem_id="lab-minus",
                               placeholder=strings.LAB_MINUS_PLACEHOLDER)
            build_note(lab.playground.reader, minus, f"{minus.elem_id}-note", clip)
            like = gr.File(label=strings.LAB_LIKE, file_count="single", type="filepath",
                           file_types=IMAGE_SUFFIXES, height=90, elem_classes="upload",
                           elem_id="lab-like")
            fields = Fields(clip, where, uploads, text, minus, like, *_build_filters(lab))
            part = LabPart("search", strings.LAB_DO_SEARCH)
            with gr.Row(elem_classes="lab-small"):
                index = gr.Button(strings.LAB_DO_INDEX, size="sm", elem_id="lab-index")
                duplicates = gr.Button(strings.LAB_DUPLICATES, size="sm", elem_id="lab-duplicates")
        part.build_stage(strings.LAB_EMPTY_SEARCH)
        take = gr.Textbox("", elem_id="lab-take", elem_classes="offstage", container=False,
                          show_label=False)
    part.connect(tasks, tabs, fields.all())

    def work(asked: Asked) -> Steps:
        return _search(lab, fields, asked)

    for event in (part.go.click, text.submit, minus.submit):
        part.starts(event, work)
    connect_collection_example(part, example, work, (where, uploads),
                               {text: strings.LAB_COLLECTION_TEXT, minus: ""})
    if (history := lab.playground.history) is not None:
        part.starts(_taken(history, take, fields).success, work)
    part.starts(index.click, lambda asked: _index(lab, fields, asked))
    part.starts(part.rebuild.click, lambda asked: _index(lab, fields, asked, rebuild=True))
    part.starts(duplicates.click, lambda asked: _duplicates(lab, fields, asked))


def _taken(history: History, take: gr.Textbox, fields: Fields) -> Any:
    """The event after a kept picture, which page.js names, has come into the field for one."""
    @one_sentence
    def fill(request: gr.Request, said: Any) -> dict[Any, Any]:
        _, which, *_ = [*str(said or "").split(), "", ""]
        kept = history.get(history.owner_of(visitor_of(request)), which)
        return {fields.where: HISTORY, fields.text: "", fields.minus: "",
                fields.uploads: gr.update(visible=False),
                fields.like: in_cache(history, fields.like, kept.sha256)}

    return take.change(fill, take, [fields.where, fields.uploads, fields.text, fields.minus,
                                    fields.like], **LIVE)


def _build_filters(lab: Lab) -> tuple[Any, ...]:
    """Weight, threshold, number of results, days and generators, folded away."""
    names = [(p.title, p.name) for p in lab.playground.registry]
    with gr.Accordion(strings.LAB_FILTERS, open=False, elem_classes="lab-fold"):
        weight = gr.Slider(0, 2, 1, step=0.1, label=strings.LAB_LIKE_WEIGHT, buttons=[],
                           info=strings.LAB_LIKE_WEIGHT_INFO)
        threshold = gr.Textbox(label=strings.LAB_THRESHOLD, info=strings.LAB_THRESHOLD_INFO,
                               max_lines=1, elem_id="lab-threshold")
        limit = gr.Slider(1, MAX_RESULTS, 24, step=1, label=strings.LAB_LIMIT, buttons=[])
        with gr.Row():
            since, until = (gr.Textbox(label=label, max_lines=1, min_width=120,
                                       placeholder=strings.LAB_DAY_PLACEHOLDER)
                            for label in (strings.LAB_SINCE, strings.LAB_UNTIL))
        generators = gr.Dropdown(names, value=[], label=strings.LAB_GENERATORS, multiselect=True)
    return weight, threshold, limit, since, until, generators


def parse_threshold(text: str) -> float | None:
    """The least similarity that was typed; None where nothing was.

    Raises:
        InvalidRequest: it is not a number from -1 to 1.
    """
    if not text.strip():
        return None
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise InvalidRequest(strings.LAB_BAD_NUMBER, field="threshold")
    return value


def _filters(fields: Fields, asked: Asked) -> Filters:
    return Filters(parse_day(asked.text(fields.since)), parse_day(asked.text(fields.until), True),
                   tuple(asked.values[fields.generators] or ()))


def _collection(lab: Lab, fields: Fields, asked: Asked) -> Any:
    return lab.collection(asked.values[fields.where], asked.run.visitor,
                          asked.values[fields.uploads] or [])


def _suited(lab: Lab, fields: Fields, asked: Asked) -> tuple[Any, Suited]:
    """The collection, and the CLIP that judges it."""
    collection = _collection(lab, fields, asked)
    return collection, lab.suited(asked.values[fields.clip], asked.values[fields.where],
                                  first_files(collection), asked.run)


def _index(lab: Lab, fields: Fields, asked: Asked, rebuild: bool = False) -> Steps:
    collection, chosen = _suited(lab, fields, asked)
    model_id = chosen.model_id
    for progress in lab.index(collection, model_id, asked.run, rebuild):
        yield progress.message()
        if progress.finished:
            yield Shown(render_note(progress.message()) + render_faults(progress.unreadable))


def _snapshot(lab: Lab, collection: Any, model_id: str, asked: Asked, fields: Fields,
              ) -> Generator[str | Snapshot]:
    """The index; one's own pictures are brought up to date first, a folder when asked to."""
    if asked.values[fields.where] in (HISTORY, UPLOADS):
        yield from lab.current(collection, model_id, asked.run)
    else:
        yield lab.searcher.snapshot(collection, lab.searcher.features(model_id))


def _search(lab: Lab, fields: Fields, asked: Asked) -> Steps:
    threshold, filters = parse_threshold(asked.text(fields.threshold)), _filters(fields, asked)
    like = asked.values[fields.like]
    images = [(read_small(like), float(asked.values[fields.weight]))] if like else []
    collection, chosen = _suited(lab, fields, asked)
    clip, direction = lab.searcher.direction(
        chosen.model_id,
        [(asked.text(fields.text), 1.0), (asked.text(fields.minus), -1.0)], images)
    for snapshot in _snapshot(lab, collection, chosen.model_id, asked, fields):
        if isinstance(snapshot, str):
            yield snapshot
            continue
        hits = search(snapshot, direction, int(asked.values[fields.limit]), threshold, filters)
        own = lab.still_own(asked.values[fields.where], asked.run.visitor, [h.item for h in hits])
        hits = [hit for hit, mine in zip(hits, own, strict=True) if mine]
        title = next(title for title, known in lab.clips if known == clip.model_id)
        head = counted(len(hits), strings.LAB_FOUND, figure(len(snapshot), ","), say(title))
        yield Shown((render_note(f"{head} · {strings.LAB_FIGURES}") if hits else "")
                    + render_suited(chosen, lab.titles(), "lab")
                    + render_hits(hits, chosen.of([Path(hit.item.path) for hit in hits]))
                    + render_faults(lab.unreadable(collection, snapshot)))


def _duplicates(lab: Lab, fields: Fields, asked: Asked) -> Steps:
    threshold, filters = parse_threshold(asked.text(fields.threshold)), _filters(fields, asked)
    collection, chosen = _suited(lab, fields, asked)
    for snapshot in _snapshot(lab, collection, chosen.model_id, asked, fields):
        if isinstance(snapshot, str):
            yield snapshot
            continue
        groups: tuple[tuple[int, ...], ...] = ()
        steps = near_duplicates(snapshot, ALIKE if threshold is None else threshold,
                                allowed(snapshot, filters))
        for progress in steps:
            groups = progress.groups
            yield strings.LAB_COMPARING.format(round(100 * progress.share))
            if asked.run.stopped:
                raise Cancelled
        found = [group_hits(snapshot, group) for group in groups[:MAX_GROUPS]]
        more = len(groups) - MAX_GROUPS
        note = render_note(strings.LAB_MORE.format(f"{more:,}")) if more > 0 else ""
        yield Shown(render_groups(found) + note
                    + render_faults(lab.unreadable(collection, snapshot)))


def group_hits(snapshot: Snapshot, group: tuple[int, ...]) -> list[Hit]:
    """The members of a group with their similarity to its first."""
    features = snapshot.features(np.array(group))
    return [Hit(item, float(similarity)) for item, similarity in
            zip(snapshot.items(group), features @ features[0], strict=True)]
