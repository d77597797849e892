"""Paused runs that are kept: whose they are, how many, and states that are damaged or foreign."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from easel.history.database import Database
from easel.history.records import LOCAL
from easel.history.shelves import FolderShelf
from easel.serving.paused_rows import PausedRows, Used, owner_key
from easel.serving.paused_runs import SHARES, PausedRuns
from pipelines.core.errors import EaselError, Paused, PausedRunError
from pipelines.core.events import Progress
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from pipelines.saved_run import SavedRun
from tests.asking import stream
from tests.paused_server import FEW, FIELDS, ME, Server, cache, open_runs, result_of, same, server
from tests.watched_sketch import WatchedSketch

__all__ = ["cache", "server"]


def test_visitors_see_their_own_only(server: Server) -> None:
    run_id = server.paused_at(1)
    assert server.runs.of("you") == []
    for act in (lambda: server.resume(run_id, owner="you"),
                lambda: server.runs.delete("you", run_id),
                lambda: server.runs.delete(ME, "../../etc/passwd"),
                lambda: server.resume(f"../{server.file().parent.name}/{run_id}", owner=ME),
                lambda: server.runs.delete(ME, "")):
        with pytest.raises(PausedRunError, match="There is no such paused run"):
            act()
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []
    assert not list(server.folder.glob("*/*"))


def test_a_visitor_has_only_so_many(tmp_path: Path, cache: ModelCache) -> None:
    server = Server(tmp_path / "paused", cache, max_per_owner=1)
    run_id = server.paused_at(1)
    with pytest.raises(PausedRunError, match="1 run of yours is paused"):
        server.paused_at(1)
    server.paused_at(1, owner="you")
    # The run itself is no further one.
    with pytest.raises(Paused):
        list(server.backend.resume(ME, run_id, pause_after=2))
    server.backend.close()


def test_all_together_take_only_so_much(tmp_path: Path, cache: ModelCache) -> None:
    server = Server(tmp_path / "paused", cache, quota_bytes=1000)
    events = list(stream(server.backend, FIELDS, owner=ME, pause_after=2))
    assert any(isinstance(e, Progress) and "take all the room" in e.message for e in events)
    assert result_of(events)
    server.backend.close()


def test_one_visitor_alone_leaves_room_for_others(tmp_path: Path) -> None:
    rows = PausedRows(Database(f"sqlite:///{tmp_path / 'paused.sqlite'}"), FolderShelf(tmp_path))
    runs = PausedRuns(rows, quota_bytes=SHARES * 10 ** 6)

    def keep(owner: str, number: int, size_bytes: int) -> str:
        run_id = hashlib.sha256(f"{owner} {number}".encode()).hexdigest()[:32]
        rows.put(owner_key(owner), run_id, run_id, True, True, b"x" * size_bytes,
                 {"saved_s": time.time(), "interrupted": False, "header": {}},
                 partial(runs.check_fits, owner_key(owner), size_bytes, True))
        rows.release(run_id)
        return run_id

    first = keep(ME, 1, 600_000)
    second = keep(ME, 2, 400_000)
    runs.check_fits(owner_key(ME), 400_000, False, rows.used(owner_key(ME), second))  # its own
    with pytest.raises(PausedRunError, match="your paused runs would take more than the"):
        keep(ME, 3, 1)
    for n in range(SHARES - 1):
        keep(f"visitor {n}", 1, 1_000_000)
    with pytest.raises(PausedRunError, match="paused runs of all visitors take all the room"):
        keep("another", 1, 1)
    runs.delete(ME, first)
    keep("another", 1, 1)


def test_the_command_lines_runs_may_take_all_the_room(tmp_path: Path) -> None:
    runs = open_runs(tmp_path / "paused", quota_bytes=1000)
    runs.check_fits(owner_key(LOCAL), 1000, True, Used(0, 0, 0))
    with pytest.raises(PausedRunError, match="of one visitor"):
        runs.check_fits(owner_key(ME), 251, True, Used(0, 0, 0))


def test_the_newest_comes_first_whatever_the_clock_says(server: Server,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    first = server.paused_at(1)
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    second = server.paused_at(1)
    runs = server.runs.of(ME)
    assert [run.run_id for run in runs] == [second, first]
    assert runs[0].saved_s < runs[1].saved_s - 3000, "the clock was not set back"
    with pytest.raises(Paused):
        list(server.backend.resume(ME, first, pause_after=2))
    assert [run.run_id for run in server.runs.of(ME)] == [first, second], "paused again just now"


def test_what_waits_for_too_long_is_removed(server: Server) -> None:
    server.paused_at(1)
    assert server.runs.sweep() == 0
    assert server.runs.sweep(max_age_s=-1) == 1
    assert server.runs.of(ME) == []


@pytest.fixture(scope="module")
def whole_file(cache: ModelCache, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = Server(tmp_path_factory.mktemp("whole"), cache)
    made.paused_at(1)
    made.backend.close()
    return made.file().read_bytes()


def rewritten(data: bytes, text: str, by: str) -> bytes:
    """The file with its header changed by somebody who did not change the hash."""
    tensors = load(data)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8:8 + length])["__metadata__"]
    assert any(text in value for value in metadata.values())
    return save(tensors, {name: value.replace(text, by) for name, value in metadata.items()})


@pytest.mark.parametrize("damage", [
    lambda data: data[: len(data) // 2],
    lambda data: b"",
    lambda data: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:],
    lambda data: rewritten(data, "a red apple", "a red appla"),
    lambda data: pickle.dumps({"step": 1}),
    lambda data: save({"change": torch.zeros(2)}),
    lambda data: b"\xff" * 8 + data[8:],
], ids=["truncated", "empty", "one bit", "prompt", "pickle", "foreign", "length"])
def test_a_damaged_file_is_refused_in_a_sentence(server: Server, whole_file: bytes,
                                                 damage: Callable[[bytes], bytes]) -> None:
    run_id = server.paused_at(1)
    server.file().write_bytes(damage(whole_file))
    with pytest.raises(PausedRunError, match="damaged"):
        server.resume(run_id)
    (listed,) = server.runs.of(ME)
    assert listed.run_id == run_id
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []


def test_a_state_that_is_gone_is_refused_in_a_sentence(server: Server) -> None:
    run_id = server.paused_at(1)
    server.file().unlink()
    for refused in (lambda: server.resume(run_id), lambda: server.resume(run_id, True, seed=7)):
        with pytest.raises(PausedRunError, match="damaged"):
            refused()
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []


def test_a_file_of_another_version_is_refused(server: Server,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pipelines.saved_run", "easel.serving.kept_run"):
        monkeypatch.setattr(f"{module}.FORMAT", 2)
    run_id = server.paused_at(1)
    monkeypatch.undo()
    with pytest.raises(PausedRunError, match="another version of Easel"):
        server.resume(run_id)
    assert "another version" in server.runs.of(ME)[0].fault


def test_a_state_of_other_weights_is_refused(server: Server,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    loader = server.cache.loader
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "a" * 64)
    run_id = server.paused_at(1)
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "b" * 64)
    with pytest.raises(PausedRunError, match="other weights of embedded/"):
        server.resume(run_id)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id], "it may go on elsewhere"
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "a" * 64)
    assert result_of(server.resume(run_id))


def test_a_generator_that_is_gone_is_named(server: Server) -> None:
    run_id = server.paused_at(1)
    bare = Registry()
    bare.register(WatchedSketch())
    with pytest.raises(EaselError, match="no generator called 'vqgan_clip'"):
        server.runs.resume(ME, run_id, bare)
    assert result_of(server.resume(run_id)), "it was given back"


def test_owners_are_called_as_they_were_and_nobody_is_none(tmp_path: Path) -> None:
    assert owner_key(LOCAL) == hashlib.sha256(b"").hexdigest()[:32]
    assert owner_key(ME) == hashlib.sha256(ME.encode()).hexdigest()[:32]
    with pytest.raises(ValueError, match="must be named"):
        open_runs(tmp_path / "paused").of("")


@pytest.mark.parametrize("guide", ["embedded/clip-guide", "mine/clip-guide"])
def test_a_run_from_before_presets_goes_on_with_the_same_bits(server: Server, guide: str) -> None:
    fields: dict[str, Any] = {"options": FEW | {"guide": guide}}
    whole = server.drawn(**fields)
    run_id, path = server.paused_at(2, **fields), server.file()
    kept = SavedRun.decode(path.read_bytes())
    options = {name: value for name, value in kept.request.options.items()
               if name not in ("quality", "upscaler")}
    request = kept.request.model_copy(update={"options": options})
    path.write_bytes(kept.model_copy(update={"request": request}).encode(True, kept.saved_s))
    events = server.resume(run_id)
    assert same(events, whole)
    assert result_of(events).metadata["options"] == result_of(whole).metadata["options"]
