"""The lab's endpoints: classify, index, search, near-duplicates, matrix, map.

A place is "history" (the caller's own), "uploads" (the files of the same call), or the path of a
folder that the operator allows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.history.days import parse_day
from easel.search.duplicates import near_duplicates as groups_of
from easel.search.query import Filters, allowed
from easel.search.query import search as search_in
from easel.search.snapshot import Item, Snapshot
from easel.serving.session_runs import Run
from easel.ui.lab.lab import HISTORY, UPLOADS, Lab
from easel.ui.lab.outcomes import Classified, classify_collection, classify_files, map_of, matrix_of
from easel.ui.parts.endpoints import BOOLEAN, OBJECT, STRING, STRINGS, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_small
from easel.ui.readers import ended_by_leaving
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.models.checkpoints.ids import RANKER
from pipelines.zero_shot import DEFAULT_TEMPLATE, check_labels, check_templates

PLACE = "lab"
MAX_NUMBER = 1e6  # of weights and limits; vectors are 32-bit floats
NUMBER: dict[str, Any] = {"type": "number"}


def add_lab_endpoints(lab: Lab) -> None:
    """Add the endpoints to the page under construction. None of them shows on it."""
    _add_clips(lab)
    _add_classify(lab)
    _add_index(lab)
    _add_search(lab)
    _add_duplicates(lab)
    _add_matrix(lab)
    _add_map(lab)


@contextmanager
def stoppable(lab: Lab, request: gr.Request) -> Iterator[Run]:
    """A run that /stop ends, and that whoever asked for it ends by going."""
    run = lab.playground.runs.start(session_of(request), visitor_of(request), PLACE)
    try:
        with ended_by_leaving(run.stop):
            yield run
    finally:
        lab.playground.runs.end(run)


def texts_of(value: Any, name: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidRequest("{} must be a list of texts.", name.capitalize(), field=name)
    return value


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest("{} must be a text.", name.capitalize(), field=name)
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidRequest("{} must be a number.", name.capitalize(), field=name)
    if abs(value) > MAX_NUMBER:
        raise InvalidRequest("{} is too large.", name.capitalize(), field=name)
    return float(value)


def _model() -> Any:
    return json_value(RANKER, STRING, "Id of a CLIP; /clips lists them")


def _place(default: str = HISTORY) -> Any:
    return json_value(default, STRING,
                      '"history", "uploads" for the files of this call, or an allowed folder')


def _images(label: str) -> gr.File:
    return gr.File(visible=False, file_count="multiple", file_types=IMAGE_SUFFIXES,
                   type="filepath", label=label)


def _facts(item: Item) -> dict[str, Any]:
    return {"key": item.key, "pipeline": item.pipeline, "prompt": item.prompt,
            "created_s": round(item.created_s, 3)}


def _last(steps: Generator[Any], kind: type) -> Any:
    """What a run of the lab ends with."""
    with closing(steps):
        return next(step for step in steps if isinstance(step, kind))


def _add_clips(lab: Lab) -> None:
    def clips() -> dict[str, str]:
        return {model_id: title for title, model_id in lab.clips}

    add_endpoint(clips, [], [json_value({}, OBJECT, "Title of each CLIP by id")],
                 "The CLIPs that the lab can use.", queue=False)


def _add_classify(lab: Lab) -> None:
    @one_sentence
    def classify(request: gr.Request, images: list[str] | None = None, labels: Any = None,
                 templates: Any = None, model: Any = RANKER, place: Any = UPLOADS,
                 rebuild: Any = False) -> dict[str, Any]:
        wanted = check_labels(texts_of(labels or [], "labels"))
        said = check_templates(texts_of(templates or [], "templates"))
        model_id = lab.check_clip(model)
        with stoppable(lab, request) as run:
            if place == UPLOADS:
                steps = classify_files(lab, images or [], wanted, said, model_id, run)
            else:
                steps = classify_collection(lab, lab.collection(place, run.visitor), wanted, said,
                                            model_id, run, rebuild is True)
            return _described(_last(steps, Classified))

    add_endpoint(classify, [
        _images("Pictures to classify (PNG, JPEG or WebP)"),
        json_value(["cat", "dog", "human"], STRINGS, "Two labels or more"),
        json_value([DEFAULT_TEMPLATE], STRINGS, "Templates with {} for the label; averaged"),
        _model(), _place(UPLOADS),
        json_value(False, BOOLEAN, "Whether an index that does not fit may be replaced"),
    ], [json_value({}, OBJECT, "Probabilities of every label for every picture")],
        "Classify pictures with labels of your own, by CLIP. Files that are named by their labels "
        "(cat-1.png) are counted: how many are right, and what is taken for what.")


def _described(outcome: Classified) -> dict[str, Any]:
    found = outcome.found
    told = {"model": outcome.clip.model_id, "logit_scale": round(found.logit_scale, 4),
            "labels": list(found.labels),
            "pictures": [
                {"name": name, "label": found.labels[int(shares.argmax())],
                 "probabilities": [round(float(share), 6) for share in shares],
                 "similarities": [round(float(value), 6) for value in row]}
                for name, shares, row in zip(outcome.names, found.probabilities,
                                             found.similarities, strict=True)],
            "unreadable": _faults(outcome.unreadable)}
    if len(outcome.answers) > 1:
        told["templates"] = [
            {"template": each.template, "labels": [found.labels[int(best)] for best in each.best],
             "probabilities": [round(float(share), 6) for share in each.shares]}
            for each in outcome.answers]
    if outcome.accuracy is not None:
        told["accuracy"] = outcome.accuracy.described()
    return told


def _add_index(lab: Lab) -> None:
    @one_sentence
    def index(request: gr.Request, place: Any = HISTORY, images: list[str] | None = None,
              model: Any = RANKER, rebuild: Any = False) -> Iterator[dict[str, Any]]:
        with stoppable(lab, request) as run:
            collection = lab.collection(place, run.visitor, images or [])
            steps = lab.index(collection, lab.check_clip(model), run, rebuild is True)
            with closing(steps):
                for step in steps:
                    yield {"done": step.done, "total": step.total, "kept": step.kept,
                           "removed": step.removed, "finished": step.finished,
                           "message": step.message(),
                           "unreadable": _faults(step.unreadable)}

    add_endpoint(index, [
        _place(), _images("Pictures, for the place \"uploads\""), _model(),
        json_value(False, BOOLEAN, "Whether an index that does not fit may be replaced"),
    ], [json_value({}, OBJECT, "Progress, and at the end files that cannot be read")],
        "Index pictures for search; only what is new is looked at.")


def _snapshot(lab: Lab, run: Run, place: Any, images: Sequence[str] | None,
              model_id: str) -> tuple[Snapshot, list[dict[str, Any]]]:
    """An index, and what could not be read; one's own pictures are brought up to date first, a
    folder when asked to."""
    collection = lab.collection(place, run.visitor, images or [])
    if place in (HISTORY, UPLOADS):
        snapshot = _last(lab.current(collection, model_id, run), Snapshot)
    else:
        snapshot = lab.searcher.snapshot(collection, lab.searcher.features(model_id))
    return snapshot, _faults(lab.unreadable(collection, snapshot))


def _faults(unreadable: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "reason": reason} for name, reason in unreadable]


def _filters(since: Any, until: Any, generators: Any) -> Filters:
    return Filters(parse_day(_text(since, "since")), parse_day(_text(until, "until"), end=True),
                   tuple(texts_of(generators or [], "generators")))


def _filter_inputs() -> list[Any]:
    return [json_value("", STRING, "First day in UTC, such as 2026-11-24, or empty"),
            json_value("", STRING, "Last day in UTC, or empty"),
            json_value([], STRINGS, "Only pictures of these generators")]


def _add_search(lab: Lab) -> None:
    @one_sentence
    def search(request: gr.Request, place: Any = HISTORY, text: Any = "", minus: Any = "",
               picture: str | None = None, picture_weight: Any = 1.0,
               images: list[str] | None = None, limit: Any = 24, threshold: Any = None,
               since: Any = "", until: Any = "", generators: Any = None,
               model: Any = RANKER) -> dict[str, Any]:
        model_id = lab.check_clip(model)
        filters = _filters(since, until, generators)
        least = None if threshold is None else _number(threshold, "threshold")
        shown = [(read_small(picture), _number(picture_weight, "picture_weight"))] \
            if picture else []
        with stoppable(lab, request) as run:
            _, direction = lab.searcher.direction(
                model_id, [(_text(text, "text"), 1.0), (_text(minus, "minus"), -1.0)], shown)
            snapshot, faults = _snapshot(lab, run, place, images, model_id)
            hits = search_in(snapshot, direction, int(_number(limit, "limit")), least, filters)
            own = lab.still_own(place, run.visitor, [hit.item for hit in hits])
        return {"model": model_id, "searched": len(snapshot),
                "hits": [{**_facts(hit.item), "similarity": round(hit.similarity, 6)}
                         for hit, mine in zip(hits, own, strict=True) if mine],
                "unreadable": faults}

    add_endpoint(search, [
        _place(), json_value("", STRING, "What to look for"),
        json_value("", STRING, "What the pictures should not be like"),
        gr.File(visible=False, file_types=IMAGE_SUFFIXES, type="filepath",
                label="Picture to find the like of, or null"),
        json_value(1.0, NUMBER, "Weight of that picture beside the text"),
        _images("Pictures to search, for the place \"uploads\""),
        json_value(24, {"type": "integer"}, "How many at most"),
        json_value(None, NUMBER, "Least similarity, or null"), *_filter_inputs(), _model(),
    ], [json_value({}, OBJECT, "Pictures, the nearest first")],
        "Find pictures by text, by picture, by both, or by one text without another.")


def _add_duplicates(lab: Lab) -> None:
    @one_sentence
    def near_duplicates(request: gr.Request, place: Any = HISTORY,
                        images: list[str] | None = None, threshold: Any = 0.97, since: Any = "",
                        until: Any = "", generators: Any = None,
                        model: Any = RANKER) -> dict[str, Any]:
        model_id, least = lab.check_clip(model), _number(threshold, "threshold")
        filters = _filters(since, until, generators)
        with stoppable(lab, request) as run:
            snapshot, faults = _snapshot(lab, run, place, images, model_id)
            groups = ()
            for progress in groups_of(snapshot, least, allowed(snapshot, filters)):
                groups = progress.groups
                if run.stopped:
                    raise EaselError(strings.LAB_STOPPED)
        return {"model": model_id, "groups": [[_facts(item) for item in snapshot.items(group)]
                                              for group in groups],
                "unreadable": faults}

    add_endpoint(near_duplicates, [
        _place(), _images("Pictures, for the place \"uploads\""),
        json_value(0.97, NUMBER, "Similarity from which two pictures are nearly the same"),
        *_filter_inputs(), _model(),
    ], [json_value({}, OBJECT, "Groups of pictures, the largest first")],
        "Groups of pictures that are nearly the same.")


def _add_matrix(lab: Lab) -> None:
    @one_sentence
    def text_picture_matrix(images: list[str] | None = None, texts: Any = None,
                            model: Any = RANKER) -> dict[str, Any]:
        found = matrix_of(lab, images or [], texts_of(texts or [], "texts"), lab.check_clip(model))
        return {"model": found.clip.model_id, "logit_scale": round(found.clip.logit_scale, 4),
                "texts": list(found.texts), "pictures": list(found.names),
                "similarities": found.similarities.tolist(),
                "softmax_over_texts": found.over_texts.tolist(),
                "softmax_over_pictures": found.over_pictures.tolist()}

    add_endpoint(text_picture_matrix, [
        _images("Pictures (PNG, JPEG or WebP)"),
        json_value(["a cat", "a dog"], STRINGS, "Texts"), _model(),
    ], [json_value({}, OBJECT, "A row a text, a column a picture")],
        "Compare every text with every picture, as CLIP was trained.")


def _add_map(lab: Lab) -> None:
    @one_sentence
    def picture_map(request: gr.Request, place: Any = HISTORY, images: list[str] | None = None,
                    labels: Any = None, model: Any = RANKER) -> dict[str, Any]:
        model_id = lab.check_clip(model)
        wanted = check_labels(texts_of(labels, "labels")) if labels else ()
        with stoppable(lab, request) as run:
            snapshot, faults = _snapshot(lab, run, place, images, model_id)
            found = map_of(lab, snapshot, wanted, (DEFAULT_TEMPLATE,), model_id, run)
        return {"model": model_id, "labels": list(found.labels),
                "variance_shares": [round(float(share), 4) for share in found.shares],
                "pictures": [{**_facts(item), "x": float(x), "y": float(y), "label": int(label)}
                             for item, (x, y), label in zip(found.items, found.points,
                                                            found.colours, strict=True)],
                "unreadable": faults}

    add_endpoint(picture_map, [
        _place(), _images("Pictures, for the place \"uploads\""),
        json_value(None, STRINGS, "Labels to colour by, or null for the generators"), _model(),
    ], [json_value({}, OBJECT, "Two coordinates a picture")],
        "A collection on the two directions in which it varies most (PCA).")
