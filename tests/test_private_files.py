"""What a server writes and logs is for its operator alone, and as it happened."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from easel.search.files import list_folder
from easel.serving.logs import configure_logging
from pipelines.core.files import atomic_write


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_are_as_private_as_the_process_says(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        atomic_write(tmp_path / "a.png", b"a")
        assert os.umask(mask) == mask, "and stays as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    configure_logging("INFO", "text", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_no_line_of_the_log_can_be_forged(log: io.StringIO) -> None:
    forged = "a\n2026-01-01T00:00:00Z [info     ] FORGED \x1b[31mred\u202e"
    logging.getLogger("easel").warning("the path %s is refused", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("easel").exception("a request failed")
    lines = log.getvalue().splitlines()
    assert "FORGED" in log.getvalue(), "told all the same"
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert "\x1b" not in log.getvalue()
    assert "\u202e" not in log.getvalue()
    assert [line[0].isspace() for line in lines] == [False, False] + [True] * (len(lines) - 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_called_as_a_picture_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "picture.png").write_bytes(b"a")
    (tmp_path / "link.png").symlink_to(tmp_path / "picture.png")
    assert [file.key for file in list_folder(tmp_path)] == ["picture.png"]
