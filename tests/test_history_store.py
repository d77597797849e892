"""The history: what is kept comes back, for its owner alone, and the room it takes is bounded."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from easel.history.export import pictures_of, stream_zip, write_zip
from easel.history.files import THUMBNAIL_PX, FileStore
from easel.history.lockout import MAX_WRONG
from easel.history.members import SHARED
from easel.history.recorder import Recorder
from easel.history.records import LOCAL, Filters, HistoryError
from easel.history.store import ORPHAN_S, TRASH_S, History
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import encode_png, picture_metadata, png_of, read_png
from tests.kept import SHA256, file_of, make_history, new_picture, opened


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = make_history(tmp_path)
    yield made
    made.close()


def prompts(history: History, filters: Filters | None = None, owner: str = "me") -> list[str]:
    return [picture.prompt for picture in history.page(owner, filters).pictures]


def test_everything_about_a_picture_comes_back(history: History) -> None:
    given = new_picture(seed=7, prompt="maçã 🍎 'quoted'", scores={"clip": 0.25})
    [kept] = history.add("me", [given])
    again = history.get("me", kept.id)
    assert again == kept
    assert (again.prompt, again.seed, again.pipeline) == ("maçã 🍎 'quoted'", 7, "dalle")
    assert (again.width_px, again.height_px, again.clip_score) == (24, 16, 0.25)
    assert again.facts == given.facts
    assert history.files.read(again.sha256) == given.data
    assert read_png(history.files.read(again.sha256))["easel"] == given.facts
    assert history.models("me") == ["embedded/dalle"]
    assert json.loads(json.dumps(again.public()))["facts"]["weights"] == {"embedded/dalle": SHA256}


def test_pages_are_in_order_whatever_the_clock_says(history: History,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 900.0, 950.0, 100.0, 2000.0])
    monkeypatch.setattr("easel.history.store.time.time", lambda: next(clock))
    for seed in range(5):
        history.add("me", [new_picture(seed=seed)])
    pages = [history.page("me", number=number, size=2) for number in (1, 2, 3, 99)]
    assert [[p.seed for p in page.pictures] for page in pages] == [[4, 3], [2, 1], [0], [0]]
    assert {(page.pages, page.total) for page in pages} == {(3, 5)}
    assert pages[3].number == 3
    empty = history.page("nobody")
    assert (empty.pictures, empty.number, empty.pages, empty.total) == ((), 1, 1, 0)


def test_filters(history: History) -> None:
    history.add("me", [
        new_picture("A red Apple on a table", 1), new_picture("100% MAÇÃ_verde", 2),
        new_picture("a blue car", 3, "vqgan_clip", "embedded/vqgan")])
    first, second, third = (history.ids("me")[i] for i in (2, 1, 0))
    history.rate("me", first, 2)
    history.rate("me", second, 5)
    history.set_favourite("me", third, True)
    now = time.time()
    for filters, expected in [
        (Filters(text="apple RED"), [1]), (Filters(text="maçã"), [2]), (Filters(text="0%"), [2]),
        (Filters(text="ã_v"), [2]), (Filters(text="a_b"), []), (Filters(text="%"), [2]),
        (Filters(pipeline="vqgan_clip"), [3]), (Filters(model="embedded/dalle"), [2, 1]),
        (Filters(min_rating=1), [2, 1]), (Filters(min_rating=3), [2]),
        (Filters(favourite=True), [3]), (Filters(since_s=now - 60), [3, 2, 1]),
        (Filters(since_s=now + 60), []), (Filters(until_s=now - 60), []),
        (Filters(deleted=True), []), (Filters(text="a", pipeline="dalle", min_rating=5), [2]),
    ]:
        page = history.page("me", filters)
        assert [p.seed for p in page.pictures] == expected, filters
        assert page.total == len(expected)
    assert history.pipelines("me") == ["dalle", "vqgan_clip"]


def test_neighbours_are_those_that_the_filters_leave(history: History) -> None:
    history.add("other", [new_picture("a kite", 0)])
    history.add("me", [new_picture("a dog", 1), new_picture("a cat", 2), new_picture("a dog", 3)])
    history.add("other", [new_picture("a dog", 9)])
    newest, cat, oldest = (history.get("me", each) for each in history.ids("me"))
    assert history.beside(newest) == (None, cat.id)
    assert history.beside(cat) == (newest.id, oldest.id)
    assert history.beside(oldest) == (cat.id, None)
    assert history.beside(newest, Filters(text="dog")) == (None, oldest.id)
    assert history.beside(cat, Filters(text="dog")) == (newest.id, oldest.id)
    history.delete("me", [newest.id])
    assert history.beside(cat) == (None, oldest.id)
    assert history.beside(history.get("me", newest.id)) == (None, cat.id)


def test_nobody_reaches_what_belongs_to_another(history: History) -> None:
    [mine] = history.add("me", [new_picture()])
    assert history.page("you").total == 0
    assert history.ids("you") == []
    assert history.models("you") == history.pipelines("you") == []
    assert history.with_hash("you", mine.sha256) == []
    assert history.delete("you", [mine.id]) == 0
    for reach in (lambda: history.get("you", mine.id), lambda: history.family("you", mine.id),
                  lambda: history.rate("you", mine.id, 1),
                  lambda: history.set_favourite("you", mine.id, True)):
        with pytest.raises(HistoryError, match="no such picture"):
            reach()
    assert history.get("me", mine.id) == mine
    [theirs] = history.add("you", [new_picture(seed=2, parents=(mine.id,))])
    assert history.family("you", theirs.id).ancestors == ()


def test_a_family_is_told_both_ways_and_each_member_once(history: History) -> None:
    [first, other] = history.add("me", [new_picture(seed=1), new_picture(seed=2)])
    [child] = history.add("me", [new_picture(seed=3, parents=(first.id, other.id, "unknown"))])
    [left] = history.add("me", [new_picture(seed=4, parents=(child.id,))])
    [grandchild] = history.add("me", [new_picture(seed=5, parents=(child.id, left.id))])
    family = history.family("me", child.id)
    assert [p.seed for p in family.ancestors] == [1, 2]
    assert [p.seed for p in family.descendants] == [4, 5]
    assert [p.seed for p in history.family("me", grandchild.id).ancestors] == [1, 2, 3, 4]
    history.delete("me", [child.id])
    history.purge("me")
    assert history.family("me", first.id).descendants == ()


@pytest.mark.parametrize("rating", [0, 6, -1, 2.5, "5", True])
def test_a_rating_is_one_to_five_or_none(history: History, rating: object) -> None:
    [kept] = history.add("me", [new_picture()])
    with pytest.raises(InvalidRequest, match="1 to 5 stars"):
        history.rate("me", kept.id, rating)  # type: ignore[arg-type]
    assert history.rate("me", kept.id, 5).rating == 5
    assert history.rate("me", kept.id, None).rating is None


def test_deleted_pictures_come_back_until_they_are_purged(history: History) -> None:
    a, b = history.add("me", [new_picture(seed=1), new_picture(seed=2)])
    assert history.delete("me", [a.id, a.id, "unknown"]) == 1
    assert history.delete("me", [a.id]) == 0, "twice is once"
    assert [p.seed for p in history.page("me").pictures] == [2]
    assert [p.seed for p in history.page("me", Filters(deleted=True)).pictures] == [1]
    assert history.restore("me", [a.id]) == 1
    assert history.page("me").total == 2
    history.delete("me", [a.id, b.id])
    assert history.purge("me", [b.id]) == 1
    assert file_of(history, a).exists()
    assert not file_of(history, b).exists()
    assert history.purge("you") == 0
    assert history.purge("me") == 1
    assert history.used_bytes() == 0


def test_a_file_stays_while_anybody_needs_it(history: History) -> None:
    [mine], [yours] = (history.add(owner, [new_picture()]) for owner in ("me", "you"))
    assert mine.sha256 == yours.sha256
    history.delete("me", [mine.id])
    history.purge("me")
    assert file_of(history, yours).is_file()
    history.delete("you", [yours.id])
    history.purge("you")
    assert not file_of(history, yours).exists()


def test_the_quota_takes_the_bin_first_and_then_refuses(tmp_path: Path) -> None:
    size = len(new_picture().data)
    with opened(tmp_path, owner_quota_bytes=3 * size + 40, quota_bytes=5 * size + 60) as history:
        a, b, c = history.add("me", [new_picture(seed=s) for s in (1, 2, 3)])
        with pytest.raises(HistoryError, match=r"^Your history is full at \d+ kB, so this was "):
            history.add("me", [new_picture(seed=4)])
        assert len(list((tmp_path / "files").rglob("*.png"))) == 3, "nothing was written"
        history.delete("me", [a.id])
        history.delete("me", [b.id])
        history.add("me", [new_picture(seed=4)])
        assert [p.seed for p in history.page("me", Filters(deleted=True)).pictures] == [2], (
            "the longest deleted went first")
        assert history.get("me", c.id)
        history.add("you", [new_picture(seed=5), new_picture(seed=6)])
        history.restore("me", [b.id])
        with pytest.raises(HistoryError, match=r"^The history is full"):
            history.add("you", [new_picture(seed=7)])


def test_a_sweep_removes_what_nobody_needs(history: History, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    kept, old = history.add("me", [new_picture(seed=1), new_picture(seed=2)])
    history.delete("me", [old.id])
    orphan = history.files.path(history.files.put(new_picture(seed=3).data))
    half = file_of(history, kept).with_name(f".{file_of(history, kept).name[:40]}.x.part")
    half.write_bytes(b"half")
    history.files.thumbnail(kept.sha256)
    history.sweep()
    assert orphan.exists(), "it may be on its way into the database"
    past = time.time() - ORPHAN_S - 60
    for path in tmp_path.glob("*/??/*"):
        os.utime(path, (past, past))
    history.sweep()
    left = {path.name for path in tmp_path.glob("*/??/*")}
    names = {f"{kept.sha256}.png", f"{kept.sha256}.webp"}
    assert left == names | {f"{old.sha256}.png"}
    monkeypatch.setattr("easel.history.store.time.time", lambda: past + ORPHAN_S + TRASH_S + 120)
    history.sweep()
    assert {path.name for path in tmp_path.glob("*/??/*")} == names


def test_a_thumbnail_is_a_small_webp_made_once(history: History) -> None:
    data = encode_png(np.zeros((900, 600, 3), np.uint8), {"prompt": "night"})
    sha256 = history.files.put(data)
    path = history.files.thumbnail(sha256)
    made = path.stat().st_mtime_ns
    with Image.open(path) as image:
        assert (image.format, image.size) == ("WEBP", (THUMBNAIL_PX * 2 // 3, THUMBNAIL_PX))
    assert history.files.thumbnail(sha256).stat().st_mtime_ns == made
    assert len(path.read_bytes()) < len(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "", "ab", "/" * 64])
def test_no_name_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        FileStore(tmp_path).path(name)


def test_a_missing_file_is_told(history: History) -> None:
    [kept] = history.add("me", [new_picture()])
    file_of(history, kept).unlink()
    with pytest.raises(HistoryError, match="no longer in the data folder"):
        history.files.thumbnail(kept.sha256)
    assert history.get("me", kept.id).prompt == "a red apple"


# Recording ------------------------------------------------------------------------------------


def result(*seeds: int, **facts: object) -> Result:
    candidates = tuple(Candidate(np.full((8, 8, 3), seed, np.uint8), seed, i, {"clip": 0.5})
                       for i, seed in enumerate(seeds))
    return Result(candidates, 2.0, {"prompt": "a cat", "pipeline": "dalle", "job_id": "j",
                                    "weights": {"embedded/dalle": SHA256}, **facts})


def test_a_recorded_file_is_the_one_that_everybody_writes(history: History) -> None:
    told = Recorder(history)(result(5, 6), "me")
    assert [c.seed for c in told.candidates] == [5, 6]
    for candidate in told.candidates:
        facts = picture_metadata(told, candidate)
        kept = history.get("me", facts["picture_id"])
        assert history.files.read(kept.sha256) == candidate.png
        assert candidate.png == encode_png(candidate.image, facts)
        assert png_of(told, candidate) is candidate.png, "nobody encodes it again"
        assert kept.facts == facts
    assert Recorder(history)(result(), "me").candidates == ()
    Recorder(history)(result(7), LOCAL)
    assert prompts(history, owner=LOCAL) == ["a cat"]


def test_what_several_seeds_drew_alike_is_kept_once_and_said(history: History) -> None:
    drawn = result(5, 6)
    same = np.full((8, 8, 3), 5, np.uint8)
    drawn = replace(drawn, candidates=(*drawn.candidates, Candidate(same, 7, 2, {"clip": 0.5}),
                                       Candidate(same.reshape(4, 16, 3), 8, 3, {"clip": 0.5})))
    told = Recorder(history)(drawn, "me")
    assert [c.seed for c in told.candidates] == [5, 6, 7, 8]
    first, _, equal, narrow = (c.metadata for c in told.candidates)
    assert equal["equal_to_seed"] == 5
    assert equal["picture_id"] == first["picture_id"]
    assert "equal_to_seed" not in first
    assert "equal_to_seed" not in narrow, "the same bytes of another shape"
    assert sorted(p.seed for p in history.page("me").pictures) == [5, 6, 8]
    file = told.candidates[2].png
    assert file is not None
    assert read_png(file)["easel"]["seed"] == 7, "its file is its own"


def test_nobody_has_a_history(history: History) -> None:
    """An empty name is whoever did not say who they are, and not the command line."""
    with pytest.raises(ValueError, match="must be named"):
        Recorder(history)(result(7), "")
    with pytest.raises(ValueError, match="must be named"):
        history.owner_of("")


def test_parents_are_known_by_name_and_by_the_file_of_the_init_image(history: History) -> None:
    recorder = Recorder(history)
    told = recorder(result(1), "me")
    start = history.get("me", told.candidates[0].metadata["picture_id"])
    by_file = recorder(result(2, init_image_sha256=start.sha256), "me")
    child = by_file.candidates[0].metadata["picture_id"]
    assert [p.id for p in history.family("me", child).ancestors] == [start.id]
    by_name = recorder(result(3, parents=[child]), "me")
    grandchild = by_name.candidates[0].metadata["picture_id"]
    assert [p.seed for p in history.family("me", grandchild).ancestors] == [1, 2]
    stranger = recorder(result(4, init_image_sha256=start.sha256), "you")
    assert history.family("you", stranger.candidates[0].metadata["picture_id"]).ancestors == ()


# Export ---------------------------------------------------------------------------------------


def test_an_export_holds_the_files_and_what_is_known(history: History, tmp_path: Path) -> None:
    a, b, c = history.add("me", [new_picture(seed=s) for s in (1, 1, 2)])
    file_of(history, c).unlink()
    history.add("you", [new_picture(seed=9)])
    archive = zipfile.ZipFile(io.BytesIO(b"".join(stream_zip(history, "me", Filters()))))
    assert archive.testzip() is None
    index = json.loads(archive.read("history.json"))["pictures"]
    assert [each["id"] for each in index] == [c.id, b.id, a.id]
    assert index[0]["file"] is None
    assert len({each["file"] for each in index}) == 3, "equal names are told apart"
    for each in index[1:]:
        assert archive.read(each["file"]) == history.files.read(a.sha256)
    write_zip(history.files, pictures_of(history, "me", Filters(text="nothing")),
              tmp_path / "out" / "e.zip")
    assert zipfile.ZipFile(tmp_path / "out" / "e.zip").namelist() == ["history.json"]
    with pytest.raises(HistoryError, match=r"^The export e\.zip could not be written: "):
        write_zip(history.files, [], tmp_path / "history.sqlite" / "e.zip")


# The shared history ---------------------------------------------------------------------------


def test_members_share_one_history(tmp_path: Path) -> None:
    with opened(tmp_path, password="hush") as history:
        assert history.members is not None
        history.members.sign_in("anna", "hush")
        history.members.sign_in("ben", "hush")
        assert history.owner_of("anna") == history.owner_of("ben") == SHARED
        assert history.owner_of("carol") == "carol"
        with pytest.raises(HistoryError, match="not the password"):
            history.members.sign_in("carol", "hash")
        history.members.sign_out("ben")
        assert history.owner_of("ben") == "ben"
    with opened(tmp_path, password="another") as history:
        assert history.owner_of("anna") == "anna", "a new password must be learnt anew"
    with opened(tmp_path) as history:
        assert history.owner_of("anna") == "anna"


def test_guessing_passwords_is_slowed(tmp_path: Path) -> None:
    with opened(tmp_path, password="hush") as history:
        assert history.members is not None
        for guess in range(MAX_WRONG):
            with pytest.raises(EaselError, match="not the password"):
                history.members.sign_in("mallory", str(guess))
        with pytest.raises(EaselError, match="too many wrong passwords"):
            history.members.sign_in("mallory", "hush")
