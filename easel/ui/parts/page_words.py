"""What stands on the page from the start, in the language of the browser, by ``gr.I18n``.

The page is built in English once. Then ``page_i18n`` puts a marker in the place of every label,
hint, choice and block of HTML that has a translation; Gradio's script replaces it by the text of
the browser's language. What the server says later is said in that language right away
(``easel.words.language``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.components.api_component import Api

from easel.ui.parts.theme import PLAIN
from easel.words import strings
from easel.words.language import ENGLISH, PORTUGUESE, in_every_language, load_catalogue

LABELS = ("label", "info", "placeholder")
SAYING = (gr.Button, gr.DownloadButton, gr.UploadButton, gr.Textbox)  # whose value is a text
_IN_PORTUGUESE: WeakKeyDictionary[gr.HTML, str] = WeakKeyDictionary()


def worded_html(render: Callable[[], str], **keywords: Any) -> gr.HTML:
    """HTML that stands on the page from the start.

    Args:
        render: makes it in the language to speak; called once for each.
        keywords: of ``gr.HTML``.
    """
    component = gr.HTML("", **{**PLAIN, **keywords})
    fill_html(component, render)
    return component


def fill_html(component: gr.HTML, render: Callable[[], str]) -> None:
    """As ``worded_html``, for a component that is there already."""
    said = in_every_language(render)
    component.value, _IN_PORTUGUESE[component] = said[ENGLISH], said[PORTUGUESE]


@dataclass
class _Marker:
    """Gives texts their markers and keeps what these stand for."""

    tables: dict[str, dict[str, str]] = field(
        default_factory=lambda: {ENGLISH: {}, PORTUGUESE: {}})
    i18n: gr.I18n = field(default_factory=gr.I18n)

    def mark(self, text: Any, portuguese: str | None = None) -> Any:
        """A marker for a text; the text itself where it is the same in Portuguese."""
        if not isinstance(text, str) or not text:
            return text
        said = load_catalogue(PORTUGUESE).say(text) if portuguese is None else portuguese
        if said == text:
            return text
        key = f"easel_{len(self.tables[ENGLISH])}"
        self.tables[ENGLISH][key], self.tables[PORTUGUESE][key] = text, said
        return str(self.i18n(key))


def page_i18n(page: gr.Blocks) -> gr.I18n:
    """Mark the words of a page; call it once, when all is on it and before ``launch``.

    Returns:
        The translations, for ``launch(i18n=…)``. Those of page.js have English texts as keys.
    """
    marker = _Marker()
    for block in page.blocks.values():
        if not isinstance(block, Api):  # its label is for programs
            _mark_block(block, marker)
    say = load_catalogue(PORTUGUESE).say
    marker.tables[PORTUGUESE] |= {text: say(text) for text in strings.SCRIPT_WORDS}
    return gr.I18n(**marker.tables)


def _mark_block(block: Any, marker: _Marker) -> None:
    for name in LABELS:
        if (text := getattr(block, name, None)) is not None:
            setattr(block, name, marker.mark(text))
    if isinstance(block, SAYING):
        block.value = marker.mark(block.value)
    if isinstance(block, gr.HTML) and block in _IN_PORTUGUESE:
        block.value = marker.mark(block.value, _IN_PORTUGUESE[block])
    if isinstance(choices := getattr(block, "choices", None), list):
        choices[:] = [(marker.mark(label), value) for label, value in choices]
