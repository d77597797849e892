"""How far uploads are: of a bounded number of them, and of none that there is not.

Gradio keeps what it knows of an upload until somebody has asked to the end, and of every name that
was ever asked for that it was.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gradio import routes
from gradio.route_utils import FileUploadProgress, FileUploadProgressTracker

MAX_UPLOADS = 500  # whose progress is known; the one that began first is forgotten
LOOK_S = 0.05  # as often as Gradio looks for what to tell


class UploadProgress(FileUploadProgress):
    """As Gradio's, bounded."""

    def track(self, upload_id: str) -> None:
        """Begin to count an upload."""
        if upload_id in self._statuses:
            return
        while len(self._statuses) >= MAX_UPLOADS:
            self._statuses.pop(next(iter(self._statuses)))
        self._statuses[upload_id] = FileUploadProgressTracker(deque(), False)

    async def is_tracked(self, upload_id: str) -> bool:
        """Wait until an upload has begun; who asks gives it up after a while."""
        while upload_id not in self._statuses:
            await asyncio.sleep(LOOK_S)
        return True


def bound_upload_progress() -> None:
    """Let Gradio's pages ask here from now on."""
    setattr(routes, "file_upload_statuses", UploadProgress())  # noqa: B010
