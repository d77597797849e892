"""What Gradio keeps for each session: bounded, and no more than what changed in it.

A session is a name that the caller chooses: what is kept for each is what anyone can make this
process keep.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import gradio as gr
from gradio import route_utils
from gradio.state_holder import SessionState, StateHolder

MAX_SESSIONS = 200  # the least recently used are forgotten; a page shows its defaults then
CLOSED_TTL_S = 3600


class _Session(SessionState):
    """As Gradio's, without a copy of the whole page's configuration, about 1 MB, and of all that
    it ever showed. Gradio keeps both for its deep links, which Easel does not offer."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = CLOSED_TTL_S

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Sessions(StateHolder):
    """The sessions of a served page, ``capacity`` of them at most.

    Args:
        page: after it was launched; its sessions are kept here from now on.
    """

    def __init__(self, page: gr.Blocks) -> None:
        super().__init__()
        self.set_blocks(page)
        self.capacity = MAX_SESSIONS
        page.app.state_holder = self
        lighten_lone_calls()

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            if session_id not in self.session_data:
                self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


def lighten_lone_calls() -> None:
    """Let a call without a session, which has one that ends with it, have a light one.

    Gradio's took longer to make than most calls take to answer, among them that for the queue,
    which every page makes again and again.
    """
    route_utils.SessionState = _Session
