"""A paused run goes on by its name: whichever backend is asked for it, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from easel.serving.backend import LocalBackend
from pipelines.core.errors import EaselError, InvalidRequest, PausedRunError
from pipelines.core.events import Progress
from pipelines.saved_run import checked_changes
from tests.paused_server import FEW, ME, Server, cache, registry, result_of, same, server

__all__ = ["cache", "server"]


@pytest.fixture
def other(server: Server) -> Iterator[Server]:
    """Another backend, open at the same time, that knows of the first one's runs by their files."""
    made = Server(server.folder, server.cache)
    yield made
    made.backend.close()


def test_another_backend_goes_on_with_the_same_bits(server: Server, other: Server) -> None:
    whole = server.drawn()
    run_id = server.paused_at(2)
    assert same(other.resume(run_id), whole)
    with pytest.raises(PausedRunError, match="There is no such paused run"):
        server.resume(run_id)


def test_a_run_is_under_way_in_one_place(server: Server, other: Server) -> None:
    fields: dict[str, Any] = {"options": FEW | {"iterations": 200}}
    run_id = server.paused_at(2, **fields)
    with closing(other.backend.resume(ME, run_id, {"iterations": 400})) as events:
        next(event for event in events if isinstance(event, Progress) and event.losses)
        for again in (lambda: server.runs.plan(ME, run_id, server.backend.registry),
                      lambda: server.resume(run_id), lambda: server.runs.delete(ME, run_id)):
            with pytest.raises(PausedRunError, match=r"^This run is on its way already\.$"):
                again()
        branch = server.runs.plan(ME, run_id, server.backend.registry, {"seed": 7}, branch=True)
        assert branch.prompt == "a red apple"
    end = time.monotonic() + 300
    while True:  # until the step that was under way has ended
        try:
            server.runs.plan(ME, run_id, server.backend.registry)
            break
        except PausedRunError:
            assert time.monotonic() < end
            time.sleep(0.02)
    (left,) = server.runs.of(ME)
    assert result_of(server.resume(run_id, iterations=left.step + 1))


def test_a_resumption_that_nobody_reads_holds_nothing(server: Server, other: Server) -> None:
    run_id = server.paused_at(2)
    unread = server.backend.resume(ME, run_id)
    assert result_of(other.resume(run_id))
    with pytest.raises(PausedRunError, match="There is no such paused run"):
        next(unread)


def test_what_a_run_would_draw_is_told_before(server: Server) -> None:
    run_id = server.paused_at(2)
    before = server.file().read_bytes()
    plan = server.runs.plan(ME, run_id, server.backend.registry,
                            checked_changes("a blue car", 40))
    assert (plan.prompt, plan.options.iterations, plan.seed) == ("a blue car", 40, 5)
    assert server.file().read_bytes() == before
    refusals: list[tuple[type[EaselError], str, str, dict[str, object], bool]] = [
        (InvalidRequest, "has taken 2 steps", run_id, {"iterations": 2}, False),
        (InvalidRequest, "A branch needs a change", run_id, {}, True),
        (PausedRunError, "There is no such", "0" * 32, {}, False),
        (PausedRunError, "There is no such", "../x", {}, False)]
    for kind, says, name, changes, branch in refusals:
        with pytest.raises(kind, match=says) as planned:
            server.runs.plan(ME, name, server.backend.registry, changes, branch)
        with pytest.raises(kind) as resumed:
            list(server.backend.resume(ME, name, changes, branch))
        assert str(planned.value) == str(resumed.value)
    with pytest.raises(PausedRunError, match="There is no such"):
        server.runs.plan("you", run_id, server.backend.registry)
    assert result_of(server.resume(run_id)), "none of that holds it"


def test_where_nothing_can_be_paused_it_is_said(server: Server) -> None:
    with closing(LocalBackend(registry(), server.cache)) as bare, \
            pytest.raises(PausedRunError, match=r"^No run can be paused here\.$"):
        list(bare.resume(ME, "0" * 32))
