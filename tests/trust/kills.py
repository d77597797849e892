"""``kill -9`` at moments drawn by chance, under writes of all that a server keeps.

Every kill is of a process that has just been forked from this one and writes without end; what is
left is looked at by another fresh process, and the next writer goes on from there, as a server does
that is started again. A name whose writing was under way may be as it was before or as it was to
be; every other one is as the writer told that it is. ``python -m benchmarks kills`` does 200.

``python -m tests.trust.kills KILLS SEED FOLDER`` prints what came of it as JSON, and goes on with
what was begun in that folder.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from easel.compare.votes import VoteStore
from tests.hub_server import Hub, Repository, serve_hub
from tests.kept import new_picture, opened
from tests.trust.writers import COMMIT, HUB_FILES, REPOSITORY, WRITERS

# Of ten kills.
SHARES = ("history", "votes", "index", "paused", "history", "downloads", "index", "paused",
          "history", "index")
# What a process asks the system for while it writes; at one of these calls it kills itself.
CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime",
         "sqlite3.connect", "fcntl.flock", "shutil.rmtree"}
PATIENCE_S = 300.0  # machines may be busy
FIGURES = "figures.json"


@dataclass(frozen=True)
class Plan:
    """When a process is killed: after some reports, then after a time or at one of its calls."""

    kind: str
    reports: int
    delay_s: float
    call: int | None


def plan(seed: int, number: int) -> Plan:
    """The plan of a kill."""
    chance, kind = random.Random(f"{seed} {number}"), SHARES[number % len(SHARES)]
    # Votes are SQLite's alone, of whose calls a process is not told.
    by_call = chance.random() < 0.5 and kind != "votes"
    return Plan(kind, chance.randint(0, 8), chance.random() ** 2 * 0.3,
                chance.randint(1, 60) if by_call else None)


@dataclass
class Ledger:
    """What a writer told of names: how they are, and how those are to be that it is writing."""

    states: dict[str, Any] = field(default_factory=dict)
    begun: dict[str, Any] = field(default_factory=dict)
    known: bool = True  # not after a look that failed, which was a fault already

    def hear(self, word: str, value: Any, names: list[str]) -> None:
        """Take in a report."""
        value = "" if value == "gone" else value
        for name in names:
            if word == "begin":
                self.begun[name] = value
            else:
                self.begun.pop(name, None)
                self.states[name] = value

    def settle(self, found: Mapping[str, Any]) -> list[str]:
        """Faults of what is there, which counts from now on."""
        faults = []
        for name in {*self.states, *self.begun, *found} if self.known else ():
            allowed = [self.states.get(name, "")]
            allowed += [self.begun[name]] if name in self.begun else []
            if found.get(name, "") not in allowed:
                faults.append(f"{name} is {found.get(name, '')!r}, not {allowed}")
        self.states, self.begun, self.known = dict(found), {}, True
        return faults


def kill_all(kills: int, seed: int, folder: Path,
             callback: Callable[[str], None] = lambda line: None,
             ) -> dict[str, Any]:
    """Kill writers in a folder until there have been so many; one that was begun is gone on with.

    Returns:
        How many of each kind, how many in the middle of a writing, and all faults; also written
        to ``figures.json`` in the folder after every kill.
    """
    _warm_up()
    written = folder / FIGURES
    figures = _figures(written, seed)
    ledgers = {kind: Ledger() for kind in WRITERS}
    if figures["kills"]:  # what is there counts, since nobody knows how the last one ended
        for kind, ledger in ledgers.items():
            if _place(folder, kind).exists():
                ledger.states = dict(_looked_at(kind, _place(folder, kind))[0])
    hub, os.environ["HF_ENDPOINT"] = _serve_hub()
    try:
        for number in range(figures["kills"], kills):
            each = plan(seed, number)
            ledger, place = ledgers[each.kind], _place(folder, each.kind)
            place.mkdir(parents=True, exist_ok=True)
            found = _kill(each, ledger, place, f"{seed} {number}")
            figures["in_the_middle"] += bool(ledger.begun)
            state: Mapping[str, Any] = {}
            if not found:
                state, found = _looked_at(each.kind, place)
            if found:
                ledger.known = False
            else:
                found = ledger.settle(state)
            figures["kills"] = number + 1
            figures["kinds"][each.kind] = figures["kinds"].get(each.kind, 0) + 1
            figures["names"][each.kind] = len(ledger.states)
            figures["faults"] += [f"kill {number} ({each}): {fault}" for fault in found]
            written.write_text(json.dumps(figures), encoding="utf-8")
            callback(f"{number + 1} of {kills}: {each.kind}, {len(figures['faults'])} faults")
    finally:
        os.kill(hub, signal.SIGKILL)
        os.waitpid(hub, 0)
    return figures


def _figures(written: Path, seed: int) -> dict[str, Any]:
    """What kills of the same seed found so far."""
    if written.exists():
        figures = json.loads(written.read_text("utf-8"))
        if figures["seed"] == seed:
            return figures
        raise ValueError(f"{written.parent} holds what kills of another seed left")
    return {"kills": 0, "seed": seed, "kinds": {}, "in_the_middle": 0, "names": {}, "faults": []}


def _place(folder: Path, kind: str) -> Path:
    """Where a kind of writer writes; votes lie in the database of the history."""
    return folder / ("history" if kind == "votes" else kind)


def _warm_up() -> None:
    """Import what every forked process would import anew: half a second of a processor each."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as history:
        VoteStore(history.database).votes()
        history.add("me", [new_picture()])


def _kill(each: Plan, ledger: Ledger, folder: Path, seed: str) -> list[str]:
    """Start a writer and kill it by a plan; faults other than of what it wrote."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_writer(each, folder, seed, writer)
    os.close(writer)
    heard = 0
    end_s = time.monotonic() + PATIENCE_S
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            if each.call is None and heard >= each.reports:
                time.sleep(each.delay_s)
                os.kill(pid, signal.SIGKILL)
                end_s, each = time.monotonic() + PATIENCE_S, Plan(each.kind, 10**9, 0, None)
            if not select.select([pipe], [], [], max(0.0, end_s - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)  # too few reports or calls for its plan
                continue
            data = pipe.read(2**16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                word, value, names = json.loads(line)
                heard += word != "begin"
                if word != "note":
                    ledger.hear(word, value, names)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        return [f"the writer ended by itself, {status}"]
    return []


def _be_writer(each: Plan, folder: Path, seed: str, pipe: int) -> NoReturn:
    """Write until killed, or until one of this process's own calls, at which it kills itself."""
    left = [each.reports, each.call]

    def announce(word: str, value: Any, names: list[str]) -> None:
        os.write(pipe, json.dumps([word, value, names]).encode() + b"\n")
        left[0] -= word != "begin"

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in CALLS and left[0] <= 0 and left[1] is not None:
            left[1] -= 1
            if left[1] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        if each.call is not None:
            sys.addaudithook(watch)
        WRITERS[each.kind].write(folder, random.Random(seed), announce)
    except BaseException:
        traceback.print_exc()
    os._exit(3)


def two_at_once(kind: str, reports: int, folder: Path) -> list[str]:
    """Two writers in one folder, each until it has told so much; faults of what they leave."""
    ledger, pids, pipes = Ledger(), list[int](), list[Any]()
    for name in ("first", "second"):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _be_writer(Plan(kind, 0, 0, None), folder, name, writer)
        os.close(writer)
        pids.append(pid)
        pipes.append(os.fdopen(reader, encoding="utf-8"))
    faults = []
    for pid, pipe in zip(pids, pipes, strict=True):
        heard = 0
        with pipe:
            for line in pipe:
                word, value, names = json.loads(line)
                heard += word == "done"
                ledger.hear(word, value, names)
                if heard == reports:
                    os.kill(pid, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            faults.append(f"a writer of {kind} ended by itself")
    state, found = _looked_at(kind, folder)
    return faults + (found or ledger.settle(state))


def _looked_at(kind: str, folder: Path) -> tuple[Mapping[str, Any], list[str]]:
    """What a fresh process finds in a folder, and what it finds wrong."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            found: Any = WRITERS[kind].check(folder)
        except BaseException:
            found = traceback.format_exc()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = json.loads(pipe.read() or b'"it ended without a word"')
    os.waitpid(pid, 0)
    return ({}, [found]) if isinstance(found, str) else (found, [])


def _serve_hub() -> tuple[int, str]:
    """A process that serves a slow hub, and its address."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        hub = Hub({REPOSITORY: Repository(COMMIT, HUB_FILES)}, pause_s=0.01)
        with serve_hub(hub) as served:
            os.write(writer, served.url.encode())
            os.close(writer)
            while True:
                time.sleep(60)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return pid, pipe.read()


def main(kills: int, seed: int, folder: Path) -> None:
    """Print what ``kill_all`` found as JSON; for a process of its own, which has no threads yet."""
    found = kill_all(kills, seed, folder, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(found))


def main_of_two(folder: Path, reports: int = 12) -> None:
    """Print the faults of ``two_at_once`` by kind as JSON."""
    _warm_up()
    faults = {}
    for kind in ("history", "votes"):
        (folder / kind).mkdir(parents=True)
        faults[kind] = two_at_once(kind, reports, folder / kind)
    print(json.dumps(faults))


if __name__ == "__main__":
    if sys.argv[1] == "two":
        main_of_two(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
