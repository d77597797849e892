"""When Python looks for garbage, objects that refer to each other and that nobody else refers to.

It looks through all that there is, again and again as that grows. While the networks' and the
page's libraries are imported and the page is built, a million objects come and none goes: looking
takes a tenth of the time then, and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Look for no garbage, neither meanwhile nor, afterwards, in what a process has begun with.

    Only the first of a process keeps what is there from being looked through: later there may be
    garbage among it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if enabled:
            gc.enable()
