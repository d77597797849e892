"""The pictures that a request brings: where they are dropped, and how they show at the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr

from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_pictures
from easel.words import strings
from pipelines.core.json_values import read_json
from pipelines.core.request import INIT_IMAGE, MASK, MAX_IMAGE_PROMPTS, PICTURES
from pipelines.core.sentences import Sentence

IMAGE_PROMPTS = PICTURES[1]


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


@dataclass
class ShownPictures:
    """A row of thumbnails; each is taken away by the press of its button.

    Attributes:
        row: hidden while there are none.
        html: the thumbnails.
        removed: hidden; page.js writes there which one to take away.
    """

    row: gr.Row
    html: gr.HTML
    removed: gr.Textbox


def build_shown(elem_id: str) -> ShownPictures:
    """An empty row, whose parts have names that begin with ``elem_id``."""
    # page.js finds the box by the name of the thumbnails.
    removed = gr.Textbox(visible="hidden", elem_id=f"{elem_id}-removed")
    with gr.Row(visible=False, elem_id=f"{elem_id}-row") as row:
        html = gr.HTML("", elem_id=f"{elem_id}-shown", **PLAIN)
    return ShownPictures(row, html, removed)


def connect_shown(groups: Sequence[PictureInputs], shown: ShownPictures,
                  handed: gr.Textbox | None = None) -> None:
    """Show what is chosen, wherever that was done.

    Args:
        groups: of all generators.
        shown: where.
        handed: forgets which picture was handed over when one to start from is taken away.
    """
    places = [(group, name) for group in groups for name in group.files]
    files: list[Any] = [group.files[name] for group, name in places]
    if not files:
        return

    def show(*values: Any) -> tuple[Any, str]:
        found = [(index, name, group.title, _paths(value)) for index, ((group, name), value)
                 in enumerate(zip(places, values, strict=True)) if value]
        return gr.update(visible=bool(found)), render_pictures(found)

    def remove(asked: str, *values: Any) -> list[Any]:
        updates: list[Any] = [gr.skip()] * len(files)
        forget: Any = gr.skip()
        for index, gone in _asked(asked, len(places)).items():
            paths = _paths(values[index])
            left = [path for path in paths if path not in gone]
            if left == paths:
                continue
            several = places[index][1] == IMAGE_PROMPTS
            # Not its bare value: that would leave what a page shows of several files as it was.
            updates[index] = gr.update(value=left if several and left else None)
            if places[index][1] == INIT_IMAGE:
                forget = ""
        return updates if handed is None else [*updates, forget]

    for file in files:
        file.change(show, files, [shown.row, shown.html], **LIVE)
    shown.removed.change(remove, [shown.removed, *files],
                        [*files, *([] if handed is None else [handed])], **LIVE)


def render_pictures(found: Sequence[tuple[int, str, str, Sequence[str]]]) -> str:
    """A thumbnail of each picture, with what it is for and a button that takes it away.

    Args:
        found: for each place its number, the field of the request, the generator's title, empty for
            several, and the paths in the cache.
    """
    return "".join(_thumbnail(index, name, title, path, number)
                   for index, name, title, paths in found
                   for number, path in enumerate(paths, 1))


def _thumbnail(index: int, name: str, title: str, path: str, number: int) -> str:
    if name == IMAGE_PROMPTS:
        said = (strings.PROMPT_OF.format(title, number) if title
                else strings.PROMPT_OF_ALL.format(number))
    elif name == MASK:
        said = strings.MASK_OF.format(title) if title else strings.MASK_OF_ALL
    else:
        said = strings.INIT_FROM.format(title) if title else strings.INIT_FROM_ALL
    asked = escape(json.dumps([index, path]))
    label = escape(strings.PICTURE_REMOVE.format(said.removesuffix(".")))
    return (f'<figure class="given"><img src="gradio_api/file={escape(quote(path))}" alt="">'
            f"<figcaption>{escape(said)}</figcaption>"
            f'<button type="button" class="gone" data-remove="{asked}" aria-label="{label}" '
            f'title="{label}">×</button></figure>')


def _paths(value: Any) -> list[str]:
    if not value:
        return []
    return [str(path) for path in value] if isinstance(value, list) else [str(value)]


def _asked(text: str, places: int) -> dict[int, set[str]]:
    """By their places the paths that page.js asks to be taken away; what is none is left out."""
    try:
        pairs = [(index, str(path)) for index, path in read_json(text)[0]]
    except (TypeError, ValueError, RecursionError, KeyError, IndexError):
        return {}
    gone: dict[int, set[str]] = {}
    for index, path in pairs:
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < places:
            gone.setdefault(index, set()).add(path)
    return gone
