"""Comparisons that the command line wrote into a folder, read by the one reader that there is."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from easel.compare.bundle import Bundle, read_zip


def read_folder(folder: Path) -> Bundle:
    """The bundle in a folder, once it is packed as a zip file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return read_zip(packed.getvalue())
