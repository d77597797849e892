"""How far a command is, on the error stream."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bar(tqdm):
    """A progress bar that vanishes at its end.

    Where the error stream is no terminal none is drawn: a log has a plain line a tenth of the way.
    """

    shown: object = None

    def __init__(self, unit: str, position: int | None = None, **more: Any) -> None:
        super().__init__(total=None, file=sys.stderr, unit=unit, position=position, disable=None,
                         **{"leave": False, **more})

    def show(self) -> None:
        """Draw the bar as it is now."""
        if not self.disable:
            self.refresh()
            return
        tenth = (self.desc, self.total and self.n * 10 // self.total)
        if self.shown != tenth:
            self.shown = tenth
            how_far = f" {self.n / self.total:.0%} {self.n}/{self.total}" if self.total else ""
            print(f"{self.desc}{how_far}", file=sys.stderr, flush=True)
