"""The pictures that a request brings: where they are dropped, and how they show at the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from easel.ui.parts.lines import Updates
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_pictures
from easel.words import strings
from pipelines.core.json_values import read_json
from pipelines.core.request import INIT_IMAGE, MASK, MAX_IMAGE_PROMPTS, PICTURES
from pipelines.core.sentences import Sentence

IMAGE_PROMPTS = PICTURES[1]
MAX_TAKEN = 8  # pictures that can be put back


@dataclass
class PictureInputs:
    """Where the pictures of a request are dropped, by its fields.

    Attributes:
        title: of the generator that is given them; empty where several draw with the same ones.
        files: by the name of the field; of image prompts several, else one.
    """

    title: str
    files: dict[str, gr.File]

    @property
    def init_image(self) -> gr.File | None:
        """Where the picture to start from goes; None where none is taken."""
        return self.files.get(INIT_IMAGE)

    def read(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The fields of a request that hold pictures.

        Raises:
            InvalidImage: one is no longer there.
        """
        return read_pictures(*(values[self.files[name]] if name in self.files else None
                               for name in PICTURES))


def build_picture_inputs(title: str, accepts: Mapping[str, bool], render: bool = True,
                         ) -> PictureInputs:
    """Places for files.

    Args:
        title: of the generator; empty where several draw with the same pictures.
        accepts: which pictures there may be, see ``Pipeline.accepts``.
        render: whether they stand where they are built.
    """
    labels = {
        INIT_IMAGE: Sentence(strings.START_PICTURE, title) if title else strings.INIT_IMAGE_LABEL,
        MASK: Sentence(strings.MASK, title) if title else strings.MASK_LABEL,
        IMAGE_PROMPTS: (Sentence(strings.IMAGE_PROMPTS, title, MAX_IMAGE_PROMPTS) if title else
                        Sentence(strings.IMAGE_PROMPTS_LABEL, MAX_IMAGE_PROMPTS))}
    return PictureInputs(title, {name: gr.File(
        label=label, file_count="multiple" if name == IMAGE_PROMPTS else "single",
        file_types=IMAGE_SUFFIXES, type="filepath", height=64, elem_classes="upload",
        render=render) for name, label in labels.items() if accepts[f"accepts_{name}"]})


@dataclass(frozen=True)
class Taken:
    """A picture that was taken away and can be put back.

    Attributes:
        place: number of its place.
        path: in the cache.
        position: among those of its place, from 0.
        handed: the prompt of the kept picture that it was; empty where it was none.
    """

    place: int
    path: str
    position: int
    handed: str = ""


@dataclass
class ShownPictures:
    """A row of thumbnails; each is taken away by the press of its button, and put back by another.

    Attributes:
        row: hidden while there are none.
        html: the thumbnails.
        removed: hidden; page.js writes there which one to take away.
        undone: hidden; page.js writes there which one to put back.
        taken: what can be put back, a list of ``Taken``. It stays on the server, so that nobody
            can have any other file put there.
    """

    row: gr.Row
    html: gr.HTML
    removed: gr.Textbox
    undone: gr.Textbox
    taken: gr.State


def build_shown(elem_id: str) -> ShownPictures:
    """An empty row, whose parts have names that begin with ``elem_id``."""
    # page.js finds the boxes by the name of the thumbnails.
    removed = gr.Textbox(visible="hidden", elem_id=f"{elem_id}-removed")
    undone = gr.Textbox(visible="hidden", elem_id=f"{elem_id}-undone")
    with gr.Row(visible=False, elem_id=f"{elem_id}-row") as row:
        html = gr.HTML("", elem_id=f"{elem_id}-shown", **PLAIN)
    return ShownPictures(row, html, removed, undone, gr.State([]))


def connect_shown(groups: Sequence[PictureInputs], shown: ShownPictures, runs: Sequence[Any],
                  handed: gr.Textbox | None = None) -> None:
    """Show what is chosen, wherever that was done, and what was taken away until the next run.

    Args:
        groups: of all generators.
        shown: where.
        runs: events such as ``button.click`` upon which something is drawn without what was taken
            away: then it is gone.
        handed: which picture was handed over; empty once one to start from is taken away.
    """
    places = [(group.title, name) for group in groups for name in group.files]
    files: list[Any] = [file for group in groups for file in group.files.values()]
    if not files:
        return

    def show(taken: Sequence[Taken], *values: Any) -> Updates:
        paths = [_paths(value) for value in values]
        html = "".join(
            _thumbnail(index, *places[index], path, number)
            for index, given in enumerate(paths) for number, path in enumerate(given, 1))
        html += "".join(
            _thumbnail(each.place, *places[each.place], each.path, each.position + 1, taken=True)
            for each in taken if _has_room(each, places[each.place][1], paths[each.place]))
        return {shown.row: gr.update(visible=bool(html)), shown.html: html}

    def changed(paths: Mapping[int, Sequence[str]]) -> Updates:
        # Not their bare values: those would leave what a page shows of several files as it was.
        return {files[index]: gr.update(
            value=(list(left) if places[index][1] == IMAGE_PROMPTS else left[0]) if left else None)
            for index, left in paths.items()}

    def remove(asked: str, taken: Sequence[Taken], was_handed: str, *values: Any) -> Updates:
        now, left, forget = list(taken), dict[int, list[str]](), False
        for index, gone in _asked(asked, len(places)).items():
            paths, starts = _paths(values[index]), places[index][1] == INIT_IMAGE
            if not gone.intersection(paths):
                continue
            left[index] = [path for path in paths if path not in gone]
            now = [each for each in now if each.place != index or each.path not in gone]
            now += [Taken(index, path, position, was_handed if starts else "")
                    for position, path in enumerate(paths) if path in gone]
            forget = forget or starts
        return {shown.taken: now[-MAX_TAKEN:], **changed(left),
                start: "" if forget else was_handed}

    def put_back(asked: str, taken: Sequence[Taken], was_handed: str, *values: Any) -> Updates:
        wanted, found = _asked(asked, len(places)), dict[int, list[str]]()
        kept = list[Taken]()
        for each in taken:
            paths = found.get(each.place, _paths(values[each.place]))
            if (each.path not in wanted.get(each.place, ())
                    or not _has_room(each, places[each.place][1], paths)):
                kept.append(each)
                continue
            found[each.place] = [*paths[:each.position], each.path, *paths[each.position:]]
            was_handed = each.handed or was_handed
        return {shown.taken: kept, **changed(found), start: was_handed}

    start, rendered = handed if handed is not None else gr.State(""), [shown.row, shown.html]
    for file in files:
        file.change(show, [shown.taken, *files], rendered, **LIVE)
    for box, act in ((shown.removed, remove), (shown.undone, put_back)):
        box.change(act, [box, shown.taken, start, *files], [shown.taken, start, *files], **LIVE)
    gr.on(runs, lambda *values: {shown.taken: [], **show([], *values)}, files,
          [shown.taken, *rendered], **LIVE)


def _has_room(taken: Taken, name: str, paths: Sequence[str]) -> bool:
    """Whether a picture can go back to where others may have been put since, and is still there."""
    free = len(paths) < MAX_IMAGE_PROMPTS if name == IMAGE_PROMPTS else not paths
    return free and taken.path not in paths and Path(taken.path).is_file()


def _thumbnail(index: int, title: str, name: str, path: str, number: int, taken: bool = False,
               ) -> str:
    """A picture with what it is for, and a button that takes it away, or puts it back.

    Args:
        index: of its place.
        title: of the generator; empty for several.
        name: of the request's field.
        path: in the cache.
        number: among those of its place, from 1.
        taken: whether it was taken away.
    """
    if name == IMAGE_PROMPTS:
        said = (strings.PROMPT_OF.format(title, number) if title
                else strings.PROMPT_OF_ALL.format(number))
    elif name == MASK:
        said = strings.MASK_OF.format(title) if title else strings.MASK_OF_ALL
    else:
        said = strings.INIT_FROM.format(title) if title else strings.INIT_FROM_ALL
    asked = escape(json.dumps([index, path]))
    bare = said.removesuffix(".")
    if taken:
        label = escape(strings.PICTURE_UNDO.format(bare))
        return (f'<figure class="given taken"><img src="gradio_api/file={escape(quote(path))}" '
                f'alt=""><figcaption role="status">{escape(strings.PICTURE_TAKEN.format(bare))}'
                f'</figcaption><button type="button" class="chip" data-undo="{asked}" '
                f'aria-label="{label}">{escape(strings.UNDO)}</button></figure>')
    label = escape(strings.PICTURE_REMOVE.format(bare))
    return (f'<figure class="given"><img src="gradio_api/file={escape(quote(path))}" alt="">'
            f"<figcaption>{escape(said)}</figcaption>"
            f'<button type="button" class="gone" data-remove="{asked}" aria-label="{label}" '
            f'title="{label}">×</button></figure>')


def _paths(value: Any) -> list[str]:
    if not value:
        return []
    return [str(path) for path in value] if isinstance(value, list) else [str(value)]


def _asked(text: str, places: int) -> dict[int, set[str]]:
    """By their places the paths that page.js names; what is none is left out."""
    try:
        pairs = [(index, str(path)) for index, path in read_json(text)[0]]
    except (TypeError, ValueError, RecursionError, KeyError, IndexError):
        return {}
    gone: dict[int, set[str]] = {}
    for index, path in pairs:
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < places:
            gone.setdefault(index, set()).add(path)
    return gone
