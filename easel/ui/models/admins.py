"""Who may download, load, unload and pin models: they are everybody's, and the device too."""

from __future__ import annotations

import hmac
from typing import Literal

import gradio as gr
from starlette.requests import Request

from easel.guard.visitors import UnknownVisitor, address_of, is_local, visitor_of
from easel.history.lockout import Lockout
from pipelines.core.errors import InvalidRequest

Who = Literal["local", "everyone", "nobody"]


class ModelAdmins:
    """Tells who may change which models are here and where.

    Args:
        who: "local" is whoever's browser runs on this machine.
        password: who knows it may as well, from anywhere; empty for nobody.
    """

    def __init__(self, who: Who = "local", password: str = "") -> None:
        self.who, self._password = who, password.encode()
        self._lockout = Lockout()
        self._entered: set[str] = set()

    @property
    def has_password(self) -> bool:
        """Whether there is a password to enter."""
        return bool(self._password)

    def may(self, request: gr.Request) -> bool:
        """Whether whoever sent a request may change something."""
        if self.who == "everyone" or (self.who == "local" and is_local(request)):
            return True
        return self._has_entered(request)

    def leads(self, request: gr.Request | Request) -> bool:
        """Whether whoever sent a request leads a class: never everybody, unlike ``may``."""
        return (self.who != "nobody" and is_local(request)) or self._has_entered(request)

    def check(self, request: gr.Request) -> None:
        """Refuse whoever may not.

        Raises:
            InvalidRequest: one sentence on what would help.
        """
        if not self.may(request):
            raise InvalidRequest("Only who knows the models' password may change models here: "
                                 "enter it above." if self.has_password else
                                 "Models may only be changed at the machine that Easel runs on "
                                 "(EASEL_MODELS_BY).", field="model")

    def _has_entered(self, request: gr.Request | Request) -> bool:
        try:
            visitor = visitor_of(request)
        except UnknownVisitor:
            return False
        return visitor in self._entered

    def enter(self, request: gr.Request | Request, password: str) -> None:
        """Let a visitor in until Easel ends.

        Raises:
            InvalidRequest: the password is wrong, or too many wrong ones came from there in a
                minute.
            UnknownVisitor: the visitor cannot be known again.
        """
        visitor, address = visitor_of(request), address_of(request)
        if self._lockout.blocked(visitor, address):
            raise InvalidRequest("There were too many wrong passwords: try again in a minute.")
        right = hmac.compare_digest(password.encode(errors="replace"), self._password)
        if not (self._password and right):
            self._lockout.note(visitor, address)
            raise InvalidRequest("That is not the models' password.")
        self._entered.add(visitor)
