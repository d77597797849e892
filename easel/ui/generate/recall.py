"""Settings that come back: a picture's own, or another tool's, put into the Generate tab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.recall import Recalled, recall
from easel.history.records import HistoryError
from easel.history.store import History
from easel.ui.parts.controls import GenerateInputs, PipelineControls
from easel.ui.parts.lines import Updates
from easel.ui.parts.theme import LIVE
from easel.ui.parts.tiles import alert, kept_note
from easel.ui.parts.uploads import read_upload
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.options import option_fields, parse_options
from pipelines.core.request import INIT_IMAGE, MAX_IMAGES, SEED_COUNT
from pipelines.pipeline import Pipeline

Finder = Callable[[gr.File, str], str | None]
MAX_LEFT = 20  # settings without a place, listed by name
NEGATIVE = "negative_prompt"  # the one option whose words mean the same to every generator


@dataclass(frozen=True)
class Filled:
    """What to show in the Generate tab.

    Attributes:
        updates: by component; what is not there stays as it is.
        note: what was taken over, what was not, and what is empty now; plain text.
    """

    updates: Updates
    note: str


def fill(inputs: GenerateInputs, found: Recalled, seed: int | None = None,
         num_images: int | None = None, find: Finder = lambda file, digest: None) -> Filled:
    """Settings as updates of the components.

    The form then says what the picture says and nothing else: what the picture does not name is
    emptied or back to its default, so that nothing of an earlier picture stays. Only which
    generators draw, and how many pictures, stays where the picture names no generator of Easel.

    Args:
        inputs: the components.
        found: the settings.
        seed: in place of the one that was found.
        num_images: in place of the run's number.
        find: the file of a picture that the run was given, by its SHA-256, where a component may
            hand it out; None where it is not there.
    """
    seed = found.seed if seed is None else seed % SEED_COUNT
    updates: Updates = {
        inputs.prompt: found.prompt, inputs.seed: "" if seed is None else str(seed),
        inputs.handed: ""}
    taken, left, emptied = [], [], []
    if found.prompt:
        taken.append(strings.FILLED_CUT if found.cut else strings.FILLED_PROMPT)
    else:
        emptied.append(strings.FILLED_PROMPT)
    (emptied if seed is None else taken).append(strings.FILLED_SEED)
    options = dict(found.options)
    if found.negative_prompt:
        options[NEGATIVE] = found.negative_prompt
    drew = [group for group in inputs.controls if group.pipeline.name == found.pipeline]
    if drew:
        updates |= _tick_alone(inputs, drew[0], num_images or found.num_images)
        taken.append(strings.FILLED_GENERATOR.format(drew[0].pipeline.title))
    elif found.pipeline:
        left.append(strings.FILLED_GENERATOR.format(found.pipeline[:40]))
    used: set[str] = set()
    values: dict[str, dict[str, Any]] = {}
    for group in inputs.controls:
        # An option of another generator may have the same name, and mean something else.
        said = {**group.pipeline.former_options, **options} if group in drew else {
            name: value for name, value in options.items()
            if name == NEGATIVE and not drew}
        values[group.pipeline.name] = valid_options(group.pipeline, said)
        used |= values[group.pipeline.name].keys() & options.keys()
        updates[group.varied] = ""
        updates |= dict.fromkeys(group.pictures.files.values())
    updates |= inputs.options.updates(values)
    given, gone = _given(found, drew[0].pictures.files if drew else {}, find)
    updates |= given
    if used:
        taken.append(strings.FILLED_OPTIONS if drew else strings.FILLED_NEGATIVE)
    left += [f"{_named(name)} {_line(value)[:40]}" for name, value in options.items()
             if name not in used]
    left += [_line(f"{label} {value}")[:60] for label, value in found.other]
    return Filled(updates, " ".join([_note(found.tool, taken, left, emptied), *gone]))


def _given(found: Recalled, files: Mapping[str, gr.File], find: Finder,
           ) -> tuple[dict[Any, Any], list[str]]:
    """The pictures that the run was given, and sentences about those that are not there."""
    updates: dict[Any, Any] = {}
    gone = set[str]()
    for name, digests in found.pictures.items():
        paths = [path for digest in digests
                 if name in files and (path := find(files[name], digest)) is not None]
        if paths:
            updates[files[name]] = paths[0] if files[name].file_count == "single" else paths
        if len(paths) < len(digests):
            gone.add(name)
    return updates, ([strings.INIT_GONE] if INIT_IMAGE in gone else []) + (
        [strings.PICTURES_GONE] if gone - {INIT_IMAGE} else [])


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def _named(option: str) -> str:
    return strings.FILLED_NEGATIVE if option == NEGATIVE else option.replace("_", " ")


def _note(tool: str, taken: list[str], left: list[str], emptied: list[str]) -> str:
    note = strings.FILLED_FROM.format(tool, ", ".join(taken) or strings.FILLED_NOTHING)
    if left:
        more = [strings.FILLED_MORE.format(len(left) - MAX_LEFT)] if len(left) > MAX_LEFT else []
        note += strings.FILLED_LEFT.format(", ".join(left[:MAX_LEFT] + more))
    if emptied:
        note += strings.FILLED_EMPTIED.format(", ".join(emptied))
    return note + strings.FILLED_DEFAULTS


def _tick_alone(inputs: GenerateInputs, group: PipelineControls, num_images: int | None,
                ) -> Updates:
    updates: Updates = {other.chosen: other is group for other in inputs.controls}
    updates[group.num_images] = (
        num_images if num_images is not None and 1 <= num_images <= MAX_IMAGES
        else group.pipeline.default_num_images)
    return updates


def valid_options(pipeline: Pipeline, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that the pipeline has, with values that it takes."""
    names = {option.name for option in option_fields(pipeline.Options)}
    found = {}
    for name, value in options.items():
        if name not in names:
            continue
        try:
            found[name] = getattr(parse_options(pipeline.Options, {name: value}), name)
        except InvalidRequest:
            continue
    return found


def set_to(values: Mapping[Any, Any]) -> Updates:
    """Components with new values; not bare ones, which would leave what a page shows of several
    files as it was."""
    return {component: gr.update(value=value) for component, value in values.items()}


def kept_picture(history: History, owner: str) -> Finder:
    """Finds the pictures that a run was given among those of an owner."""
    def find(file: gr.File, digest: str) -> str | None:
        if not history.with_hash(owner, digest):
            return None
        try:
            return in_cache(history, file, digest)
        except HistoryError:
            return None

    return find


def in_cache(history: History, component: gr.File, sha256: str) -> str:
    """A kept picture's file where a component may hand it out, unchanged.

    Raises:
        HistoryError: the file is gone.
    """
    cached = component.move_resource_to_block_cache(history.files.local(sha256))
    assert cached is not None
    return cached


def connect_recall(inputs: GenerateInputs, history: History | None) -> None:
    """A dropped picture fills in its settings; what is wrong with it is said in their place.

    Args:
        inputs: the components.
        history: where the pictures are looked for that it was drawn with; None for nowhere.
    """
    def read(request: gr.Request, path: str | None) -> Updates:
        if not path:
            return gr.skip()
        try:
            found = recall(read_upload(path))
            filled = fill(inputs, found) if history is None else fill(
                inputs, found, find=kept_picture(history, history.owner_of(visitor_of(request))))
        except EaselError as error:
            return {inputs.dropped: None, inputs.note: alert(str(error))}
        return {inputs.dropped: None, inputs.note: kept_note(filled.note),
                **set_to(filled.updates)}

    inputs.dropped.upload(read, inputs.dropped,
                          [inputs.dropped, inputs.note, *inputs.components()], **LIVE)
