"""The mask of a view: cells over the chosen picture that are painted, by pointer or by keys."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.turns import reading
from easel.ui.inside.chooser import Chooser, render_shown
from easel.ui.inside.view import render_grid
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.page_words import fill_html, worded_html
from easel.ui.parts.task import Asked
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.core.images import load_mask
from pipelines.inside.mask import SHAPES, Mask, kept_codes, mask_of, shaped

SIDE = 16  # cells along a side of what is painted: codes of the VQGAN, cells of DALL·E's plans
PAINT_JS = "(value) => { window.easelMask('{}', value); return []; }"  # page.js
LOAD_JS = "window.easelMask(element)"


class MaskField:
    """A mask under construction.

    Args:
        chooser: whose picture lies under it.
        name: of the view.
        first: one of ``SHAPES``, which it has from the start.
        info: one sentence, in English, of what becomes of the cells.

    Attributes:
        text: what the mask is, rows of 0 and 1; page.js writes it.
    """

    def __init__(self, chooser: Chooser, name: str, first: str, info: str) -> None:
        place = f"inside-{name}-mask"
        with gr.Column(elem_classes="mask-field"):
            worded_html(lambda: _head(place, info))
            with gr.Column(elem_classes="mask-over"):
                under = gr.HTML("", elem_classes="mask-under", **PLAIN)
                worded_html(lambda: _cells(place, first), js_on_load=LOAD_JS,
                            elem_id=f"{place}-cells")
            self.text = gr.Textbox(_rows(shaped(first, SIDE)), visible="hidden", elem_id=place)
            upload = gr.File(label=strings.MASK_UPLOAD, file_count="single", type="filepath",
                             file_types=IMAGE_SUFFIXES, height=64, elem_classes="upload",
                             elem_id=f"{place}-file")
            refused = gr.HTML("", **PLAIN)
        fill_html(under, lambda: render_shown(chooser.picture.value and chooser.paths[0]))
        chooser.picture.change(render_shown, chooser.picture, under, **LIVE)
        # Whoever writes the text, a hand, an upload or a page that is opened again, the cells
        # follow it.
        self.text.change(None, self.text, None, js=PAINT_JS.replace("{}", place),
                         api_visibility="private")

        @shows_errors_by(lambda sentence: (gr.skip(), alert(sentence)))
        def uploaded(path: Any) -> Any:
            return (_rows(kept_codes(read_mask(path), SIDE)) if path else gr.skip()), ""

        upload.change(uploaded, upload, [self.text, refused], **LIVE)

    def read(self, asked: Asked) -> Mask:
        """The mask that was asked for.

        Raises:
            InvalidRequest: the page says something else than a mask.
        """
        return mask_of(asked.text(self.text))


def read_mask(path: Any) -> np.ndarray:
    """The mask (R, C) bool of an upload: what is white there, or transparent, does not stay.

    Raises:
        InvalidImage: it is no longer there, or no picture.
    """
    data = read_upload(path)
    with reading.turn():
        return load_mask(data) < 128


def mask_asked(value: Any, path: Any) -> Mask:
    """The mask of a program's call: its file where there is one.

    Raises:
        InvalidRequest: there is none, or it is none.
    """
    if path:
        return read_mask(path)
    if value is None:
        raise InvalidRequest("There is no mask.", field="mask")
    return mask_of(value)


def _rows(kept: np.ndarray) -> str:
    return " ".join("".join(str(int(cell)) for cell in row) for row in kept)


def _head(place: str, info: str) -> str:
    """What the mask is, and shapes to press."""
    named = dict(zip(SHAPES, strings.MASK_SHAPES, strict=True))
    fills = [(title, _rows(shaped(name, SIDE))) for name, title in named.items()]
    fills += [(strings.MASK_NOTHING, _rows(np.zeros((SIDE, SIDE), bool))),
              (strings.MASK_INVERT, "invert")]
    chips = "".join(f'<button type="button" class="chip" data-fill="{fill}" data-mask="{place}">'
                    f"{escape(title)}</button>" for title, fill in fills)
    title = escape(strings.MASK_TITLE)
    return (f'<p class="mask-title"><b>{title}</b> {escape(say(info))}</p>'
            f'<div class="chips" role="group" aria-label="{title}">{chips}</div>')


def _cells(place: str, first: str) -> str:
    kept = shaped(first, SIDE)
    rows = [[(strings.MASK_CELL.format(row, column), f'aria-selected="{str(cell).lower()}"')
             for column, cell in enumerate(line, start=1)]
            for row, line in enumerate(kept.tolist(), start=1)]
    return (f'<div class="inside-grid mask-grid" data-mask="{place}">'
            f'{render_grid(strings.MASK_TITLE, rows, "cells mask-cells")}'
            f'<output class="lab-note">{escape(strings.MASK_PAINT)}</output></div>')
