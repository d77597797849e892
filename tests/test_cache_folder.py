"""The cache of uploads and pages' pictures: what is old, too much or deleted goes from it."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from easel.guard.cache_folder import (
    EXPORT_S,
    FREE_BYTES,
    FRESH_S,
    MAX_AGE_S,
    PART_S,
    CacheFolder,
)

HASH = "a" * 64


def age(path: Path, age_s: float) -> None:
    at_s = time.time() - age_s
    os.utime(path, (at_s, at_s))


def written(folder: Path, name: str, age_s: float = 0, data: bytes = b"12345") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    for each in (path, path.parent):
        age(each, age_s)
    return path


def test_a_full_disk_has_no_room_whatever_the_quota(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    used = shutil.disk_usage(tmp_path)
    cache = CacheFolder(tmp_path, 10**15)
    assert cache.has_room(10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=FREE_BYTES + 9))
    assert not cache.has_room(10)
    assert cache.has_room(9)
    assert CacheFolder(tmp_path / "not there", 10**15).has_room(9)


@pytest.mark.parametrize(("name", "life_s"), [
    (f"{HASH}/a.png", MAX_AGE_S), ("pictures/token/a.png", MAX_AGE_S),
    ("lab/token/labels.csv", MAX_AGE_S),
    ("tmpom328acm", PART_S), ("exports/token/history.zip", EXPORT_S)])
def test_what_is_old_goes_with_its_folder_whoever_made_it(tmp_path: Path, name: str, life_s: float,
                                                          ) -> None:
    young = written(tmp_path, name, life_s - 60)
    assert CacheFolder(tmp_path, 10**9).sweep() == 0
    assert young.exists()
    written(tmp_path, name, life_s + 60)
    assert CacheFolder(tmp_path, 10**9).sweep() == 1
    CacheFolder(tmp_path, 10**9).sweep()
    assert not young.exists()


def test_there_are_no_more_files_than_may_be_however_short_they_are(tmp_path: Path) -> None:
    """A picture a job stays for a day, for the pages that show it; a flood of them does not."""
    def there() -> set[str]:
        return {path.parent.name for path in tmp_path.rglob("*") if path.is_file()}

    for number in range(50):
        written(tmp_path, f"pictures/{number}/a.png", FRESH_S + 1000 - number, b"")
    cache = CacheFolder(tmp_path, 10**9, most_files=20)
    assert cache.sweep() == 30
    assert there() == {str(number) for number in range(30, 50)}, "the oldest went"
    assert cache.has_room(64 * 4), "an upload of five empty files, for which five others go"
    assert there() == {str(number) for number in range(35, 50)}
    assert not cache.has_room(64 * 20)
    for number in range(20):
        written(tmp_path, f"pictures/new-{number}/a.png", 0, b"")
    cache.sweep()
    assert there() == {f"new-{number}" for number in range(20)}
    assert not cache.has_room(0), "what is shown or uploaded now makes room for nobody"


def test_an_empty_folder_goes_and_examples_stay(tmp_path: Path) -> None:
    example = written(tmp_path, f"{HASH}/example.png", MAX_AGE_S * 9)
    empty = tmp_path / ("b" * 64)
    empty.mkdir()
    age(empty, FRESH_S + 60)
    CacheFolder(tmp_path, 10**9, lambda: {str(example)}).sweep()
    assert example.exists()
    assert not empty.exists()


def test_what_others_put_into_the_folder_is_theirs(tmp_path: Path) -> None:
    foreign = [written(tmp_path, name, MAX_AGE_S * 9) for name in (
        "letter.txt", "photos/cat.png", "tmp-notes", f"{HASH}0/a.png")]
    cache = CacheFolder(tmp_path, 1)
    assert cache.sweep() == 0
    cache.forget({hashlib.sha256(b"12345").hexdigest(): 5})
    assert all(path.exists() for path in foreign)


def test_the_oldest_make_room_and_the_newest_stay(tmp_path: Path) -> None:
    files = [written(tmp_path, f"{n:064x}/a.png", FRESH_S + 60 * (9 - n)) for n in range(4)]
    fresh = written(tmp_path, f"{HASH}/a.png")
    cache = CacheFolder(tmp_path, 20)
    assert cache.has_room(5)
    assert [path.exists() for path in files] == [False, False, True, True]
    assert not cache.has_room(16), "what is fresh stays"
    assert fresh.exists()


def test_all_copies_of_what_is_gone_for_good_go(tmp_path: Path) -> None:
    copies = [written(tmp_path, name) for name in ("pictures/token/a.png", f"{HASH}/b.png")]
    other = written(tmp_path, f"{HASH}/c.png", data=b"54321")
    CacheFolder(tmp_path, 10**9).forget({hashlib.sha256(b"12345").hexdigest(): 5})
    assert not any(path.exists() for path in copies)
    assert other.exists()


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path / "none", 10)
    assert cache.sweep() == 0
    assert not cache.has_room(11)


def test_paths_of_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Gradio notes every file that it ever wrote, also once somebody else has removed it."""
    young = written(tmp_path, f"{HASH}/a.png")
    old = written(tmp_path, f"{'b' * 64}/a.png", MAX_AGE_S + 60)
    names = {str(young), str(old), str(tmp_path / "removed before")}
    CacheFolder(tmp_path, 10**9, named=lambda: [names]).sweep()
    assert names == {str(young)}
