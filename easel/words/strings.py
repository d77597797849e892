"""What the page says; ``translations`` has every text of ``easel.words.english`` in Portuguese.

A name of this module is its text in the language of the request that is being answered, so that
``strings.STOP`` says "Parar" to a visitor whose browser prefers Portuguese. While the page is
built it is the English text, which ``easel.ui.parts.page_words`` marks for the browser.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

# Every text under its own name: the same name in two of them is found by tests/test_language.py.
from easel.words.english.compare import *  # noqa: F403
from easel.words.english.history import *  # noqa: F403
from easel.words.english.inside import *  # noqa: F403
from easel.words.english.lab import *  # noqa: F403
from easel.words.english.models import *  # noqa: F403
from easel.words.english.page import *  # noqa: F403
from easel.words.english.path import *  # noqa: F403
from easel.words.english.wall import *  # noqa: F403
from easel.words.language import say_all


class _Spoken(ModuleType):
    """A module whose constants are said in the language to speak now."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return say_all(value) if name.isupper() else value


sys.modules[__name__].__class__ = _Spoken
