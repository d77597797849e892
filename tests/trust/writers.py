"""What a server keeps, written by processes that are to be killed, and looked at afterwards.

Each writer has a ``write``, which runs without end in the process that is killed and tells what it
begins and what is done; and a ``check``, which runs in a fresh process on what is left and returns
what it found there, as plain data. It fails where files and database disagree. Both have a process
of their own, and may set what holds for all of it.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from easel.compare.votes import Vote, VoteError, VoteStore
from easel.history import store
from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.recorder import Recorder
from easel.history.records import Filters
from easel.search.database import only_writer
from easel.search.index import VectorIndex
from easel.search.opening import open_index
from easel.search.snapshot import Item
from easel.serving import paused_rows
from easel.serving.paused_runs import PausedRuns
from pipelines import checkpointer
from pipelines.checkpointer import Checkpointer
from pipelines.core.errors import Paused
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import read_png
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import INCOMING, Download, Downloads
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.kept import opened
from tests.paused_server import open_runs

Announce = Callable[..., None]  # ("begin" or "done", what, names)
ME, PROMPT = "me", "a red apple"
PICTURES, DIM, KEYS, COLLECTIONS = 3, 8, 12, 8
LEASE_S = 0.2  # nobody else writes, and who is killed holds no runs for long
HUB_FILES = {"config.json": b'{"a": 1}', "one.bin": random.Random(1).randbytes(2 * 2**20),
             "two.bin": random.Random(2).randbytes(2**20)}
REPOSITORY, MODEL, COMMIT = "someone/pictures", "someone/model", "a" * 40


@dataclass(frozen=True)
class Writer:
    """One kind of writing.

    Attributes:
        write: into a folder, with a source of chance.
        check: what is in a folder: state by name.
    """

    write: Callable[[Path, random.Random, Announce], None]
    check: Callable[[Path], Mapping[str, Any]]


# The history: a run of pictures is kept, thrown away, restored and purged as one ----------------


def _write_history(folder: Path, chance: random.Random, announce: Announce) -> None:
    history = _history(folder)
    record, runs = Recorder(history), dict[str, list[str]]()
    for each in [*_pictures(history), *_pictures(history, deleted=True)]:
        runs.setdefault(each.facts["job_id"], []).append(each.id)
    while True:
        what = chance.choice(["record", "record", "delete", "restore", "purge", "thumbnail"])
        if what == "record" or not runs:
            job, drawn = secrets.token_hex(8), np.random.default_rng(
                chance.getrandbits(32))
            candidates = tuple(
                Candidate(drawn.integers(0, 256, (64, 64, 3), np.uint8), seed, seed, {"clip": 0.3})
                for seed in range(PICTURES))
            announce("begin", "kept", [job])
            kept = record(Result(candidates, 0.1, {
                "prompt": PROMPT, "pipeline": "noise", "job_id": job,
                "weights": {"linear/8": "ab" * 32}}), ME)
            runs[job] = [str(each.metadata["picture_id"]) for each in kept.candidates]
            announce("done", "kept", [job])
            continue
        job = chance.choice(sorted(runs))
        if what == "thumbnail":
            history.files.thumbnail(history.get(ME, runs[job][0]).sha256)
            continue
        state = {"delete": "deleted", "restore": "kept", "purge": "gone"}[what]
        if what == "purge":  # from the bin alone
            announce("begin", "deleted", [job])
            history.delete(ME, runs[job])
            announce("done", "deleted", [job])
        announce("begin", state, [job])
        getattr(history, what)(ME, runs[job])
        announce("done", state, [job])
        if what == "purge":
            del runs[job]


def _history(folder: Path) -> store.History:
    """With the patience of a server."""
    return store.History(Database(f"sqlite:///{folder / 'history.sqlite'}"), FileStore(folder))


def _pictures(history: store.History, deleted: bool = False) -> list[Any]:
    filters = Filters(deleted=deleted)
    return [picture for number in range(1, history.page(ME, filters, 1, 500).pages + 1)
            for picture in history.page(ME, filters, number, 500).pictures]


def _is_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def _check_history(folder: Path) -> Mapping[str, Any]:
    if not (folder / "history.sqlite").exists():
        return {}
    with opened(folder) as history:
        found: dict[str, str] = {}
        counts, hashes = Counter[str](), set[str]()
        for deleted in (False, True):
            for picture in _pictures(history, deleted):
                data = history.files.read(picture.sha256)
                assert hashlib.sha256(data).hexdigest() == picture.sha256
                assert read_png(data)["easel"]["picture_id"] == picture.id
                job, state = picture.facts["job_id"], "deleted" if deleted else "kept"
                assert found.setdefault(job, state) == state, "a run is of one state"
                counts[job] += 1
                hashes.add(picture.sha256)
        assert set(counts.values()) <= {PICTURES}, "a run is kept whole or not at all"
        store.ORPHAN_S = -1.0  # nobody writes now
        history.sweep()
        left = {path.stem for path in folder.glob("*/??/*") if path.is_file()}
        assert left <= hashes, "files of pictures that nobody keeps"
        assert {path.stem for path in folder.glob("files/??/*")} == hashes
    _is_whole(folder / "history.sqlite")
    return found


# Votes, each of which counts once ------------------------------------------------------------


def _write_votes(folder: Path, chance: random.Random, announce: Announce) -> None:
    history = _history(folder)
    votes, names = VoteStore(history.database), list[str]()
    while True:
        if names and chance.random() < 0.2:
            try:
                votes.cast(_vote(chance.choice(names), chance))
                raise AssertionError("a vote was counted twice")
            except VoteError:
                continue
        names.append(secrets.token_hex(8))
        announce("begin", "cast", names[-1:])
        votes.cast(_vote(names[-1], chance))
        announce("done", "cast", names[-1:])


def _vote(name: str, chance: random.Random) -> Vote:
    panes = {"pipeline": "a", "clip": 0.1}, {"pipeline": "b", "clip": 0.2}
    return Vote(name, PROMPT, panes, chance.choice([0, 1, "tie"]))


def _check_votes(folder: Path) -> Mapping[str, Any]:
    if not (folder / "history.sqlite").exists():
        return {}
    with opened(folder) as history:
        votes = VoteStore(history.database).votes()
        assert all(len(vote.panes) == 2 for vote in votes)
    _is_whole(folder / "history.sqlite")
    return {vote.comparison_id: "cast" for vote in votes}


# A search index, whose vectors lie beside its database --------------------------------------------


def _vector(key: str, version: int) -> np.ndarray:
    digest = hashlib.sha256(f"{key} {version}".encode()).digest()
    return np.frombuffer(digest, np.uint8)[:DIM].astype(np.float32) / 255


def _open(collection: Path) -> VectorIndex:
    return open_index(collection, "embedded/clip", "ab" * 32, DIM)


def _write_index(folder: Path, chance: random.Random, announce: Announce) -> None:
    while True:
        collection = folder / "search" / f"folder-{chance.randrange(COLLECTIONS)}"
        with only_writer(collection):
            index = _open(collection)
            for _ in range(chance.randint(1, 4)):
                names = sorted({f"{collection.name}/{chance.randrange(KEYS)}"
                                for _ in range(chance.randint(1, 8))})
                version = chance.getrandbits(30) if chance.random() < 0.6 else ""
                announce("begin", version, names)
                if version:
                    index.add([Item(name, f"{name}.png", version, 0, 0.0, "dalle", "a cat")
                               for name in names],
                              np.stack([_vector(name, version) for name in names]))
                else:
                    index.remove(names)
                announce("done", version, names)


def _check_index(folder: Path) -> Mapping[str, Any]:
    versions: dict[str, int] = {}
    for collection in (folder / "search").glob("*"):
        with only_writer(collection):
            index = _open(collection)  # without a rebuild: it is never damaged
            found = index.snapshot()
            items = found.items(range(len(found)))
            for item, vector in zip(items, found.features(), strict=True):
                assert np.array_equal(vector, _vector(item.key, item.size_bytes)), item.key
            assert len({item.key for item in items}) == len(items) == len(index)
            versions |= {item.key: item.size_bytes for item in items}
            _is_whole(index.folder / "index.sqlite")
            assert len(list(index.folder.glob("vectors-*"))) <= 2, "generations that are gone"
            assert [path.name for path in collection.iterdir() if path.is_dir()] == [
                index.folder.name], "rests of an index that was being made"
    return versions


# Paused runs, whose state is written every few seconds --------------------------------------------


def _write_paused(folder: Path, chance: random.Random, announce: Announce) -> None:
    checkpointer.SAVE_EVERY_S = checkpointer.SAVE_SHARE = 0.0  # every step is kept
    runs = open_runs(folder / "paused", lease_s=LEASE_S)
    while True:
        waiting = runs.of(ME)
        if len(waiting) > 6 or (waiting and chance.random() < 0.3):
            name = chance.choice(sorted(run.run_id for run in waiting))
            announce("begin", "", [name])
            runs.delete(ME, name)
            announce("done", "", [name])
            continue
        run = chance.choice(waiting) if waiting and chance.random() < 0.5 else None
        saver = runs.checkpointer(ME) if run is None else runs.resume(ME, run.run_id, _registry())
        first = 0 if run is None else run.step
        last, paused = first + chance.randint(1, 5), None
        _begin(saver)
        for step in range(first + 1, last + 1):
            announce("begin", step, [saver.run_id])
            saver.ask(step == last)
            try:
                saver.save(step, partial(_state, step))
            except Paused as error:
                paused = error
            announce("done", step, [saver.run_id])
        if chance.random() < 0.3:
            announce("begin", "", [saver.run_id])
            saver.end(None)
            announce("done", "", [saver.run_id])
        else:
            saver.end(paused)


def pause_at(runs: PausedRuns, step: int, owner: str = ME, prompt: str = PROMPT) -> str:
    """Pause a new run after some steps; returns its name."""
    saver = runs.checkpointer(owner)
    _begin(saver, prompt)
    saver.ask()
    try:
        saver.save(step, partial(_state, step))
    except Paused as error:
        saver.end(error)
    return saver.run_id


def _begin(saver: Checkpointer, prompt: str = PROMPT) -> None:
    """Begin a run, or resume it."""
    fields = {"pipeline": "vqgan_clip", "prompt": prompt, "seed": 5, "num_images": 1}
    saver.begin(saver.request or _registry().check(fields), 10_000, {})


@cache
def _registry() -> Registry:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    return registry


def _state(step: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return {"latents": torch.full((64, 64), float(step))}, {"step": step}


def _check_paused(folder: Path) -> Mapping[str, Any]:
    if not (folder / "paused.sqlite").exists():
        return {}
    time.sleep(LEASE_S)  # until those of the killed process have run out
    runs, found = open_runs(folder / "paused", lease_s=LEASE_S), dict[str, int]()
    for run in runs.of(ME):
        assert not run.fault, run.fault
        saver = runs.resume(ME, run.run_id, _registry())
        saver.release()
        state = saver.start
        assert state is not None
        assert state.step == run.step == state.facts["step"] == int(state.tensors["latents"][0, 0])
        found[run.run_id] = run.step
    paused_rows.ORPHAN_S = -1.0  # nobody writes now
    runs.sweep()
    left = [path for path in (folder / "paused").rglob("*") if path.is_file()]
    assert {path.stem.partition("-")[0] for path in left} == found.keys(), \
        "rests of killed processes"
    assert len(left) == len(found)
    _is_whole(folder / "paused.sqlite")
    return found


# Downloads ---------------------------------------------------------------------------------------


def _downloads(folder: Path) -> Downloads:
    entry = CatalogueEntry.model_validate({
        "id": MODEL, "title": "m", "family": "vqgan", "licence": "MIT", "source": "a test",
        "repository": REPOSITORY, "files": [{"name": name} for name in HUB_FILES]})
    return Downloads(Catalogue((entry,), folder / "w", folder / "models"), timeout_s=60)


def _write_downloads(folder: Path, chance: random.Random, announce: Announce) -> None:
    while True:
        downloads = _downloads(folder)
        announce("begin", "whole", [MODEL])
        download = _downloaded(downloads, announce)
        for _ in range(60):
            if "already" not in download.error:  # the worker of the killed process is still ending
                break
            time.sleep(0.5)
            download = _downloaded(downloads, announce)
        assert download.phase == "done", download.error
        announce("done", "whole", [MODEL])
        announce("begin", "", [MODEL])
        shutil.rmtree(folder / "models" / MODEL)
        announce("done", "", [MODEL])


def _downloaded(downloads: Downloads, announce: Announce) -> Download:
    download, seen_bytes = downloads.start(MODEL), -1
    while not download.wait(0.01):
        if download.done_bytes != seen_bytes:
            seen_bytes = download.done_bytes
            announce("note", seen_bytes, [])
    return download


def _check_downloads(folder: Path) -> Mapping[str, Any]:
    downloads = _downloads(folder)
    entry = downloads.catalogue.get(MODEL)
    placed = sorted(path for path in downloads.catalogue.folder(entry).rglob("*") if path.is_file())
    pin = downloads.catalogue.pins.get(MODEL)
    for path in placed:
        assert path.read_bytes() == HUB_FILES[path.name], "a file that is not whole"
        assert pin is not None
        assert pin.files[path.name].sha256 == hashlib.sha256(HUB_FILES[path.name]).hexdigest()
    others = [path for path in (folder / "models").glob("*") if path.name not in (
        INCOMING, "someone", "pins.json")]
    # What a killed process was writing of the pins is taken away by the next one that writes them.
    assert all(path.name.startswith(".pins.json.") for path in others), others
    return {MODEL: "whole"} if len(placed) == len(HUB_FILES) else {}


WRITERS = {
    "history": Writer(_write_history, _check_history),
    "votes": Writer(_write_votes, _check_votes),
    "index": Writer(_write_index, _check_index),
    "paused": Writer(_write_paused, _check_paused),
    "downloads": Writer(_write_downloads, _check_downloads),
}
