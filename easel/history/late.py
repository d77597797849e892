"""Pictures that could not be kept when they were drawn, kept as soon as that is possible.

Another program may lock the database for longer than anyone should wait. The run is over by then;
what is left to do needs nobody, but must not be lost either: until they are kept, the pictures and
what is known of them lie in a folder of their own, which the next server looks through as well.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from easel.history.records import NewPicture
from pipelines.core.errors import EaselError
from pipelines.core.files import atomic_write

logger = logging.getLogger(__name__)
RETRY_S = 5.0


class LatePictures:
    """Tries again and again, on a thread of its own that ends when nothing is left.

    Args:
        folder: where they wait.
        keep: keeps pictures of an owner, those that are kept already once.
    """

    def __init__(self, folder: Path, keep: Callable[[str, Sequence[NewPicture]], object]) -> None:
        self.folder, self._keep = folder, keep
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, owner: str, pictures: Sequence[NewPicture]) -> None:
        """Keep pictures later; each has an id.

        Raises:
            OSError: they cannot even be written to the folder.
        """
        last = max((_number(path) for path in self.waiting()), default=0)
        for number, picture in enumerate(pictures, last + 1):
            atomic_write(self.folder / f"{picture.id}.png", picture.data)
            about = {"number": number, "owner": owner, "parents": list(picture.parents),
                     "facts": dict(picture.facts)}
            atomic_write(self.folder / f"{picture.id}.json",
                         json.dumps(about, ensure_ascii=False).encode())
        self.resume()

    def resume(self) -> None:
        """Go on where another process may have stopped; nothing where nothing waits."""
        with self._lock:
            if self._thread is None and not self._closed.is_set() and self.waiting():
                self._thread = threading.Thread(target=self._run, name="late", daemon=True)
                self._thread.start()

    def waiting(self) -> list[Path]:
        """What is known of each picture that waits, the oldest first, whatever the clock says."""
        return sorted(self.folder.glob("*.json"), key=_number)

    def close(self) -> None:
        """Leave what still waits to the next process."""
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(RETRY_S):
            self._try()
            with self._lock:
                if not self.waiting():
                    self._thread = None
                    return

    def _try(self) -> None:
        """Keep what waits, as far as it goes."""
        for path in self.waiting():
            try:
                about = json.loads(path.read_bytes())
                picture = NewPicture(path.with_suffix(".png").read_bytes(), about["facts"],
                                     tuple(about["parents"]), path.stem)
                self._keep(about["owner"], [picture])
                logger.info("a picture that had to wait was kept")
            except FileNotFoundError:  # another process kept it
                continue
            except (EaselError, OSError) as error:
                logger.warning("pictures wait to be kept: %s", error)
                return
            path.unlink(missing_ok=True)
            path.with_suffix(".png").unlink(missing_ok=True)


def _number(path: Path) -> int:
    """The place of a picture in the order of waiting; 0 where it is kept at this moment."""
    try:
        return int(json.loads(path.read_bytes()).get("number", 0))
    except (OSError, ValueError, AttributeError, TypeError):
        return 0
