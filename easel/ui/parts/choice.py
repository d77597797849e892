"""What follows when a person chooses from a list, and only then.

Gradio's lists call it input as well when they are left with nothing chosen, and twice when
something is: what had been filled in and then changed by hand would be filled in again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from easel.ui.parts.theme import LIVE

# What the list held when it was entered; choosing from it counts also where it chooses the same.
_SEEN = "value => { document.getElementById(ID).easelSeen = value; }"
_CHOSEN = "() => { document.getElementById(ID).easelSeen = undefined; }"
_LEFT = """(value, left, ...more) => {
    const list = document.getElementById(ID), same = list.easelSeen === value;
    list.easelSeen = value;
    return [value, same, ...more];
}"""


def on_choice(chosen: gr.Dropdown, work: Callable[..., Any], inputs: Sequence[Component],
              outputs: Sequence[Component]) -> None:
    """Have work done when something is chosen.

    Args:
        chosen: the list; one thing is chosen of it at a time, and it has an id.
        work: gets the request, what was chosen and the values of ``inputs``.
        inputs: what else it needs.
        outputs: what it changes.
    """
    left = gr.Checkbox(visible=False)
    place = repr(chosen.elem_id)

    def do(request: gr.Request, value: Any, is_left: bool, *values: Any) -> Any:
        if is_left:
            return gr.skip() if len(outputs) == 1 else [gr.skip() for _ in outputs]
        return work(request, value, *values)

    chosen.focus(None, chosen, None, js=_SEEN.replace("ID", place), api_visibility="private")
    chosen.select(None, None, None, js=_CHOSEN.replace("ID", place), api_visibility="private")
    chosen.input(do, [chosen, left, *inputs], list(outputs), js=_LEFT.replace("ID", place), **LIVE)
