"""Signing in to the shared history, where the operator offers one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import address_of, visitor_of
from easel.history.members import Members
from easel.history.store import History
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import kept_note
from easel.words import strings


@dataclass
class SharedParts:
    """The components, and the events after which the gallery shows another history."""

    sign_in: Any
    sign_out: Any

    def changed(self, reload: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
        """Show the gallery again after each of them."""
        for event in (self.sign_in, self.sign_out):
            event.success(reload, inputs, outputs, **LIVE)


def build_shared(history: History) -> SharedParts | None:
    """A fold with a password; None where there is no shared history."""
    members = history.members
    if members is None:
        return None
    with gr.Accordion(strings.SHARED_LABEL, open=False, elem_id="history-shared"):
        worded_html(lambda: f"<p>{strings.SHARED_INFO}</p>")
        with gr.Row(equal_height=True):
            password = gr.Textbox(label=strings.SHARED_PASSWORD, type="password", max_lines=1,
                                  elem_id="shared-password", min_width=160)
            enter = gr.Button(strings.SIGN_IN, size="sm", min_width=90, elem_id="sign-in")
            leave = gr.Button(strings.SIGN_OUT, size="sm", min_width=90, elem_id="sign-out")
        said = gr.HTML("", **PLAIN)
    return SharedParts(*_connect(members, password, enter, leave, said))


def _connect(members: Members, password: gr.Textbox, enter: gr.Button, leave: gr.Button,
             said: gr.HTML) -> tuple[Any, Any]:
    @one_sentence
    def sign_in(request: gr.Request, text: str) -> Updates:
        members.sign_in(visitor_of(request), text or "", address_of(request))
        return {password: "", said: kept_note(strings.SHARED_IN)}

    @one_sentence
    def sign_out(request: gr.Request) -> Updates:
        members.sign_out(visitor_of(request))
        return {password: "", said: ""}

    return (gr.on([enter.click, password.submit], sign_in, password, [password, said], **LIVE),
            leave.click(sign_out, None, [password, said], **LIVE))
