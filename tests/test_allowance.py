"""Device seconds by visitor and minute: saved up for one, paid off by waiting."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from easel.serving.allowance import Allowance
from easel.serving.backend import LocalBackend
from easel.serving.build import local_backend
from easel.serving.jobs import Group, Job, Usage
from easel.serving.line import Line
from easel.settings import load_settings
from pipelines.core.errors import Busy
from tests.asking import stream
from tests.noise import linear_cache, noise_registry


def test_what_was_taken_beyond_the_allowance_is_paid_off_by_waiting() -> None:
    now = [1000.0]
    allowance = Allowance(30, lambda: now[0])
    assert allowance.wait_s("anna") == 0
    allowance.spend("anna", 29)
    assert allowance.wait_s("anna") == 0
    allowance.spend("anna", 11)  # 10 beyond: a third of a minute
    assert allowance.wait_s("anna") == pytest.approx(20)
    assert allowance.wait_s("ben") == 0
    now[0] += 19
    assert allowance.wait_s("anna") == pytest.approx(1)
    now[0] += 2
    assert allowance.wait_s("anna") == 0
    now[0] += 10_000  # no more than a minute's are saved up
    allowance.spend("anna", 31)
    assert allowance.wait_s("anna") == pytest.approx(2)


def test_nobody_and_no_limit_are_not_counted() -> None:
    for allowance, owner in ((Allowance(None), "anna"), (Allowance(1), "")):
        allowance.spend(owner, 1000)
        assert allowance.wait_s(owner) == 0


def test_who_had_their_seconds_is_refused_in_one_sentence_and_others_are_not() -> None:
    backend = LocalBackend(noise_registry(), linear_cache(), minute_s=1e-6)
    ask = {"pipeline": "noise", "prompt": "a cat"}
    list(stream(backend, ask, owner="anna"))
    end = time.monotonic() + 60
    while backend.places():  # its result is told before the device is free
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not backend.has_room("anna")
    with pytest.raises(Busy) as refused:
        list(stream(backend, ask, owner="anna"))
    assert re.fullmatch(r"You have had your seconds of the device for now, 0 in a minute: try "
                        r"again in \d+ s\.", str(refused.value))
    assert backend.has_room("ben")
    list(stream(backend, ask, owner="ben"))
    backend.close()


def joined(line: Line, owner: str, address: str) -> Group:
    group = Group((Job(f"{owner} {time.monotonic_ns()}", lambda job: iter(())),),  # type: ignore[arg-type,return-value]
                  owner, address=address)
    line.join(group)
    return group


def test_another_token_for_each_run_does_not_help_while_others_wait() -> None:
    """Whoever is many visitors has one address, and that a share of the device."""
    line = Line(minute_s=10.0)
    for number in range(5):
        group = joined(line, f"mallory {number}", "203.0.113.9")
        group.jobs[0].usage = Usage(device_s=9.5)  # of the ten that each may have
        line.leave(group)
    assert line.has_room("mallory 5", "203.0.113.9"), "the device would be idle"
    ben = joined(line, "ben", "198.51.100.7")
    with pytest.raises(Busy, match=r"^Your address has had its seconds of the device for now, and "
                                   r"others wait: try again in \d+ s\.$"):
        joined(line, "mallory 5", "203.0.113.9")
    assert line.has_room("ben", "198.51.100.7")
    assert line.has_room("carol", "192.0.2.1")
    assert line.has_room("dave"), "who is on this machine has no address that counts"
    line.leave(ben)
    assert line.has_room("mallory 5", "203.0.113.9")
    free = Line()
    joined(free, "ben", "198.51.100.7")
    assert free.has_room("mallory", "203.0.113.9")


@pytest.mark.parametrize(("variables", "seconds"), [
    ({}, None), ({"CLASSROOM": "1"}, 20), ({"CLASSROOM": "1", "VISITOR_SECONDS": ""}, 20),
    ({"CLASSROOM": "1", "VISITOR_SECONDS": "45"}, 45), ({"VISITOR_SECONDS": "5"}, 5),
    ({"CLASSROOM": "1", "VISITOR_SECONDS": "0"}, None)])
def test_a_class_has_an_allowance_unless_another_is_set(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str],
        seconds: int | None) -> None:
    for name, value in {"DATA_DIR": str(tmp_path), "DEVICE": "cpu", **variables}.items():
        monkeypatch.setenv(f"EASEL_{name}", value)
    settings = load_settings()
    assert settings.minute_s() == seconds
    backend = local_backend(settings, noise_registry())
    try:
        line = backend.jobs.line
        group = joined(line, "anna", "")
        group.jobs[0].usage = Usage(device_s=seconds - 1 if seconds else 10_000)
        line.leave(group)
        assert line.has_room("anna")
        if seconds is not None:
            group = joined(line, "anna", "")
            group.jobs[0].usage = Usage(device_s=3)
            line.leave(group)
            assert not line.has_room("anna")
        assert line.has_room("ben")
    finally:
        backend.close()
