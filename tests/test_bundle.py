"""Bundles: the same after a round through zip or folder; nothing bad comes in with one."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from easel.compare.bundle import (
    FACTS,
    INDEX,
    MAX_FILE_BYTES,
    MAX_FILES,
    Bundle,
    BundleError,
    make_bundle,
    read_zip,
    write_folder,
    write_zip,
)
from easel.compare.bundle_page import render_index
from easel.compare.plan import plan_comparison
from easel.compare.votes import VoteError
from easel.serving.backend import LocalBackend
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.render import render_pane
from easel.ui.compare.share import bundle_of, open_comparison, save_comparison
from easel.ui.compare.state import Comparison
from easel.ui.parts.pictures import PictureStore
from easel.ui.playground import Playground
from pipelines.core.errors import EaselError
from pipelines.core.metadata import encode_png
from pipelines.registry import Registry
from tests.bundle_folder import read_folder
from tests.noise import linear_cache
from tests.test_compare import PANES, SCRIPT
from tests.test_sweeps import SKETCH
from tests.watched_sketch import WatchedSketch


def png(value: int) -> bytes:
    return encode_png(np.full((8, 8, 3), value, np.uint8), {"prompt": "a cat"})


def bundle(**facts: Any) -> Bundle:
    pane = {"pipeline": "sketch", "title": "Sketch", "num_images": 1, "seed": 5,
            "options": {"steps": 3, "blur": SCRIPT}, "weights": {"embedded/vqgan": "ab" * 32},
            "elapsed_s": 1.5, "device_s": 1.0, "peak_memory_bytes": 10**7,
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}, "guide_score": 0.5}]}
    return make_bundle({"prompt": SCRIPT, "versions": {"easel": "1"}, "vote": 1, "blind": True,
                        "panes": [pane, {**pane, "seed": 6}], **facts}, [[png(10)], [png(20)]])


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A bundle's zip with its files changed."""
    files = {}
    with zipfile.ZipFile(io.BytesIO(write_zip(bundle()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def edit(**facts: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files[FACTS] = json.dumps(json.loads(files[FACTS]) | facts).encode()

    return change


def test_zip_and_folder_come_back_as_they_were(tmp_path: Path) -> None:
    made = bundle()
    assert write_zip(made) == write_zip(made)
    assert read_zip(write_zip(made)) == made
    write_folder(made, tmp_path / "out")
    assert read_folder(tmp_path / "out") == made
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [FACTS, INDEX, "pictures"]


def test_the_page_shows_everything_and_runs_nothing() -> None:
    with zipfile.ZipFile(io.BytesIO(write_zip(bundle()))) as archive:
        page = archive.read(INDEX).decode()
    assert SCRIPT not in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    for shown in ("&lt;img", "pictures/a-01.png", "pictures/b-01.png", "clip 0.250",
                  "guide 0.500, not comparable", "pane B is best, blind", "steps", "abababababab"):
        assert shown in page


def test_the_page_says_options_as_people_do() -> None:
    registry = Registry()
    registry.register(WatchedSketch())
    request = registry.check({"pipeline": "sketch", "prompt": "a cat", "num_images": 1, "seed": 5})
    facts = bundle().facts.model_dump()
    facts["panes"][0]["options"] = {"steps": 3, "pause_s": 0.5, "fail": False, "gone": 1, "no": ""}
    made = make_bundle(facts, [[png(10)], [png(20)]], [request])
    page = render_index(facts, made.titles)
    for said in ("Steps</dt><dd>3", "Pause</dt><dd>0.5", "Fail</dt><dd>no", "gone</dt><dd>1"):
        assert f"<dt>{said}</dd>" in page
    assert "pause_s" not in page
    assert "<dt>no</dt>" not in page


@pytest.mark.parametrize(("change", "says"), [
    (lambda files: files.update({"../../etc/x.png": b"x"}), "which no comparison has"),
    (lambda files: files.update({"/etc/x.png": b"x"}), "which no comparison has"),
    (lambda files: files.update({"pictures\\..\\x.png": b"x"}), "which no comparison has"),
    (lambda files: files.update({"bomb": bytes(MAX_FILE_BYTES + 1)}), "unpacks to more"),
    (lambda files: files.update({f"f{i}": b"" for i in range(MAX_FILES)}), "at most 130"),
    (lambda files: files.pop(FACTS), "facts are missing"),
    (lambda files: files.update({FACTS: b"{"}), "not valid JSON"),
    (lambda files: files.update({FACTS: b"[" * 10**6}), "not valid JSON"),
    (lambda files: files.update({FACTS: b"[]"}), "not as Easel writes them"),
    (lambda files: files.pop("pictures/b-01.png"), "missing or was changed"),
    (lambda files: files.update({"pictures/b-01.png": png(99)}), "missing or was changed"),
    (edit(panes=[]), "not as Easel writes them at panes"),
    (edit(vote="nobody"), "not as Easel writes them at vote"),
    (edit(version=99), "at version"), (edit(prompt=""), "at prompt"), (edit(more=1), "at more"),
    (edit(budget_s=-1), "at budget_s"),
])
def test_bad_bundles_are_refused_in_a_sentence(change: Callable[[dict[str, bytes]], None],
                                               says: str) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        read_zip(repacked(change))
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 99, write_zip(bundle())[:-200],
                                  write_zip(bundle())[:500] + b"\0" * 2000])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="no comparison that Easel saved"):
        read_zip(data)


def test_a_bundle_that_a_file_manager_packed_again_is_read() -> None:
    def packed(files: dict[str, bytes]) -> None:
        for name in list(files):
            files[f"comparison/{name}"] = files.pop(name)
        files["__MACOSX/comparison/._comparison.json"] = b"x"
        files["comparison/.DS_Store"] = files["comparison/pictures/Thumbs.db"] = b"x"

    assert read_zip(repacked(packed)) == bundle()


def test_texts_that_no_file_can_store_are_cleaned() -> None:
    read = read_zip(repacked(edit(prompt="a \ud800 cat", versions={"a\ud800": "1\0"})))
    assert (read.facts.prompt, read.facts.versions) == ("a  cat", {"a": "1"})


def test_a_picture_with_a_lying_name_in_the_facts_is_refused() -> None:
    def change(files: dict[str, bytes]) -> None:
        facts = json.loads(files[FACTS])
        facts["panes"][0]["pictures"][0]["file"] = "../../../etc/passwd"
        files[FACTS] = json.dumps(facts).encode()

    with pytest.raises(BundleError, match="not as Easel writes them at panes"):
        read_zip(repacked(change))


def test_a_bundle_whose_picture_is_none_is_refused() -> None:
    made = bundle()
    broken = make_bundle(made.facts.model_dump() | {"panes": [
        {**pane, "pictures": [{"seed": 1}]} for pane in made.facts.model_dump()["panes"]]},
        [[b"no picture"], [png(1)]])
    with pytest.raises(EaselError, match="not a PNG"):
        read_zip(write_zip(broken))


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    registry = Registry()
    for pipeline in (SKETCH, WatchedSketch("etching", "Etching")):
        registry.register(pipeline)
    backend = LocalBackend(registry, linear_cache())
    yield Playground(registry, backend)
    backend.close()


STORE = PictureStore(gr.HTML())


def drawn(playground: Playground, blind: bool = False) -> Comparison:
    plan = plan_comparison(playground.registry, "a cat", PANES, seed=3, budget_s=5)
    comparison = start_comparison(playground, plan, "me", blind)
    events = playground.backend.compare(plan.requests, budget_s=plan.budget_s)
    list(fold_events(comparison, events, playground, STORE, 0.0))
    return comparison


def test_a_comparison_is_saved_opened_and_drawn_again(playground: Playground) -> None:
    comparison = drawn(playground)
    cast_vote(playground, comparison, 1)
    saved = Path(save_comparison(comparison, STORE))
    assert saved.name == "comparison-a-cat.zip"
    opened = open_comparison(saved.read_bytes(), playground, STORE, "you")
    assert opened.choice == 1
    assert opened.plan == comparison.plan
    for ours, theirs in zip(opened.panes, comparison.panes, strict=True):
        assert [c.clip_score for c in ours.panel.cards] == [
            c.clip_score for c in theirs.panel.cards]
        assert [c.path.read_bytes() for c in ours.panel.cards] == [
            c.path.read_bytes() for c in theirs.panel.cards]
        assert ours.usage == theirs.usage
    again = bundle_of(opened)
    assert again.files == bundle_of(comparison).files
    replayed = start_comparison(playground, opened.plan, "you", blind=False)
    list(fold_events(replayed, playground.backend.compare(opened.plan.requests), playground, STORE,
                     0.0))
    assert [c.clip_score for p in replayed.panes for c in p.panel.cards] == [
        c.clip_score for p in comparison.panes for c in p.panel.cards]


def test_what_cannot_be_saved_or_opened_is_said(playground: Playground) -> None:
    plan = plan_comparison(playground.registry, "a cat", PANES)
    with pytest.raises(EaselError, match="no finished comparison"):
        bundle_of(start_comparison(playground, plan, "me", blind=False))
    with pytest.raises(EaselError, match="after the vote"):
        bundle_of(drawn(playground, blind=True))


def test_a_comparison_of_what_is_not_here_can_be_looked_at(playground: Playground) -> None:
    """Its pictures and facts are there; each pane says why it cannot be drawn again."""
    gone = {"pipeline": "nobody", "title": "No Body", "num_images": 1, "seed": 5,
            "options": {"model_dump": 1, "a b": [None]},
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}}]}
    other = {**gone, "pipeline": "sketch", "title": "Sketch", "options": {"blur": SCRIPT}}
    data = write_zip(bundle(panes=[gone, other]))
    opened = open_comparison(data, playground, STORE, "me")
    assert [pane.panel.title for pane in opened.panes] == ["No Body", "Sketch"]
    assert "cannot be drawn again here: There is no generator" in opened.panes[0].notice
    assert "cannot be drawn again here: Blur must be" in opened.panes[1].notice
    assert [len(pane.panel.cards) for pane in opened.panes] == [1, 1]
    for place in (0, 1):
        assert "cannot be drawn again here" in render_pane(opened, place)
    again = bundle_of(opened)
    assert again.files == read_zip(data).files
    assert [pane.options for pane in again.facts.panes] == [gone["options"], other["options"]]


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1" + "0" * 5000, "NaN", "1e999",
                                   "[" * 65 + "]" * 65, "[" * 90_000 + "]" * 90_000])
def test_values_that_no_answer_can_hold_are_refused(value: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[FACTS] = files[FACTS].replace(b'"steps": 3', f'"steps": {value}'.encode())
        assert value.encode() in files[FACTS]

    with pytest.raises(BundleError, match="facts are not"):
        read_zip(repacked(change))


def test_a_full_disk_is_told_and_leaves_nothing_half_written(
        playground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = drawn(playground)
    data = write_zip(bundle_of(comparison))

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fdopen(descriptor: int, mode: str) -> Full:
        os.close(descriptor)
        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        for act in (lambda: save_comparison(comparison, STORE),
                    lambda: open_comparison(data, playground, STORE, "me"),
                    lambda: write_folder(bundle_of(comparison), tmp_path / "folder")):
            with pytest.raises(EaselError, match=r"could not be written.*: no space left on "
                                                 r"device\.$"):
                act()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert read_zip(Path(save_comparison(comparison, STORE)).read_bytes()).facts.prompt == "a cat"


def test_two_votes_on_the_same_pictures_count_once(playground: Playground) -> None:
    comparison = drawn(playground)
    data = write_zip(bundle_of(comparison))
    cast_vote(playground, comparison, 0)
    before = len(playground.votes.votes(blind=None))
    with pytest.raises(VoteError, match="voted on already"):
        cast_vote(playground, comparison, 1)
    for _ in range(2):  # saved before the vote, and opened by somebody else
        with pytest.raises(VoteError, match="voted on already"):
            cast_vote(playground, open_comparison(data, playground, STORE, "you"), 1)
    assert len(playground.votes.votes(blind=None)) == before
