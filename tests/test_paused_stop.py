"""Pause, Stop and the end of the server: which wins, what stays, and what cannot be paused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

from easel.history.shelves import FolderShelf
from easel.serving.best_of import stream_best
from pipelines.core.errors import Busy, InvalidRequest, Paused
from pipelines.core.events import Event, Progress
from pipelines.models.cache.cache import ModelCache
from tests.asking import stream
from tests.paused_server import (
    FEW,
    FIELDS,
    ME,
    Server,
    cache,
    curve_of,
    pausing,
    result_of,
    same,
    server,
)

__all__ = ["cache", "server"]


def following(server: Server, act: Callable[[], object], **fields: Any) -> list[Event]:
    """Act once after the first step of a long run named "job"."""
    options = FEW | {"iterations": 500} | fields.pop("options", {})
    events: list[Event] = []
    for event in stream(server.backend, {**FIELDS, "options": options, **fields}, "job", ME):
        if isinstance(event, Progress) and event.step == 1 and event.losses:
            act()
        events.append(event)
    return events


def test_pause_acts_within_a_step(server: Server) -> None:
    asked: list[int] = []

    def pause() -> None:
        job = server.backend.jobs.find("job")
        assert job is not None
        server.backend.pause("job")
        asked.append(job.progress.step)

    with pytest.raises(Paused) as caught:
        following(server, pause, num_images=2)
    assert 1 <= caught.value.step <= asked[0] + 1 < 500
    end = caught.value.step + 1
    # The schedule depends on the number of all steps, so the other run has its 500 until there.
    run_id = server.paused_at(end - 1, num_images=2, options=FEW | {"iterations": 500})
    assert same(server.resume(caught.value.run_id, iterations=end),
                server.resume(run_id, iterations=end))


def test_stop_wins_over_pause(server: Server) -> None:
    def pause_and_stop() -> None:
        server.backend.pause("job")
        server.backend.cancel("job")

    events = following(server, pause_and_stop)
    assert result_of(events).metadata["stopped"]
    assert server.runs.of(ME) == []


def test_a_stopped_run_leaves_no_state(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.checkpointer.SAVE_EVERY_S", 0.0)
    seen: list[bool] = []

    def stop() -> None:
        end = time.monotonic() + 20
        while not list(server.folder.glob("*/*.safetensors")) and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(bool(list(server.folder.glob("*/*.safetensors"))))
        server.backend.cancel("job")

    assert result_of(following(server, stop)).metadata["stopped"]
    assert seen == [True], "it was kept while it ran"
    assert not list(server.folder.glob("*/*"))


def test_a_server_that_ends_pauses_what_runs(server: Server) -> None:
    with pytest.raises(Paused) as caught:
        following(server, server.backend.close)
    (waiting,) = server.again().runs.of(ME)
    assert waiting.run_id == caught.value.run_id


def test_a_server_that_ends_while_a_state_is_kept_pauses_the_run(
        tmp_path: Path, cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowShelf(FolderShelf):
        """Whose first file takes until the server is about to end."""

        def put(self, key: str, data: bytes) -> None:
            if not begun.is_set():
                begun.set()
                assert ending.wait(120)
            super().put(key, data)

    begun, ending = Flag(), Flag()
    monkeypatch.setattr("pipelines.checkpointer.SAVE_EVERY_S", 0.0)
    server = Server(tmp_path / "paused", cache, shelf=SlowShelf(tmp_path / "files"))

    def end() -> None:
        assert begun.wait(120)
        job = server.backend.jobs.find("job")
        assert job is not None
        closes = Thread(target=server.backend.close)
        closes.start()
        while not job.stopped:
            time.sleep(0.01)
        ending.set()
        closes.join()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end)
        with pytest.raises(Paused) as caught:
            following(server, lambda: None)
        ended.result()
    assert [run.run_id for run in server.runs.of(ME)] == [caught.value.run_id]


def test_a_run_that_goes_on_and_is_refused_stays(server: Server) -> None:
    run_id = server.paused_at(1)
    server.backend.close()
    with pytest.raises(Busy):
        server.resume(run_id)
    later = server.again()
    assert [run.run_id for run in later.runs.of(ME)] == [run_id]
    assert result_of(later.resume(run_id))
    later.backend.close()


def test_other_runs_cannot_be_paused(server: Server) -> None:
    with pytest.raises(InvalidRequest, match="cannot be paused"):
        list(stream(server.backend, {"pipeline": "sketch", "prompt": "a cat"}, pause_after=1))
    events = stream_best(server.backend, server.backend.registry.check(FIELDS), 2, "job", ME)
    with closing(events), pytest.raises(InvalidRequest, match="cannot be paused"):
        pausing(server, events)
    assert server.backend.pause("nobody") is False


def test_no_room_to_pause_ends_no_run(server: Server) -> None:
    server.folder.parent.mkdir(exist_ok=True)
    server.folder.write_text("a file where a folder should be")
    events = list(stream(server.backend, FIELDS, owner=ME, pause_after=2))
    assert len(curve_of(events)) == 5
    messages = {e.message for e in events if isinstance(e, Progress) and e.losses and e.message}
    (message,) = messages
    assert message.startswith("The run could not be paused: ")
