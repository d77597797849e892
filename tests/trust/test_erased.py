"""What was made of a picture, grids, videos and zips, goes with it when it is deleted for good."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.compare.bundle import BundleInput, read_zip
from easel.compare.ranking import Ranking
from easel.guard.cache_folder import MADE_S, CacheFolder
from easel.guard.made_of import NOTE, digest_of, note, noted
from easel.guard.visitors import HEADER, new_token, visitor_named
from easel.history.recorder import Recorder
from easel.history.records import Filters
from easel.launch import forget_erased
from easel.ui.compare.leaderboard import _inputs
from easel.ui.compare.parts import EXAMPLE
from easel.ui.parts.panel import Card
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.videos import FILM
from easel.ui.rerank.sources import run_files
from easel.ui.rerank.tab import _save
from pipelines.core.events import Candidate, Result
from pipelines.core.image_metadata import without_metadata
from pipelines.registry import Registry
from tests.kept import make_history, new_picture
from tests.served import App
from tests.test_cache_folder import age, written
from tests.watched_sketch import WatchedSketch

STEPS = {"steps": 2, "pause_s": 0.0}


class Visitor:
    """Somebody whose client leaves the files on the server, and their folder of the cache."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app, self.folder, self.token = app, folder, new_token()
        self.owner = visitor_named(self.token)
        self.client = Client(app.url, verbose=False, analytics_enabled=False, download_files=False,
                             headers={HEADER: self.token}, httpx_kwargs={"timeout": 300})
        self.before = self.files()

    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}

    def new(self) -> set[Path]:
        """What came into the cache since, and is there; Gradio leaves empty files as well."""
        return {path for path in self.files() - self.before if path.stat().st_size}

    def ids(self) -> list[str]:
        return self.app.history.ids(self.owner, Filters())

    def erase(self, ids: list[str]) -> None:
        assert self.client.predict(ids, True, api_name="/history_delete") == len(ids)

    def fetch(self, address: str) -> int:
        return httpx.get(address, timeout=300).status_code

    def file(self, path: Path) -> str:
        return f"{self.app.url}gradio_api/file={path}"

    def draw(self, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return self.client.predict(**{"prompt": "a fox", "pipelines": ["sketch"], "num_images": 2,
                                      "options": {"sketch": STEPS}, **fields},
                                   api_name="/generate")


@pytest.fixture
def visitor(app: App, cache_folder: Path) -> Visitor:
    return Visitor(app, cache_folder)


def compared(visitor: Visitor) -> dict[str, Any]:
    panes = [{"pipeline": "sketch", "num_images": 1, "seed": seed, "options": STEPS}
             for seed in (1, 2)]
    return visitor.client.predict("a fox", panes, api_name="/compare")[1]


def a_film(visitor: Visitor) -> None:
    visitor.draw(video=True)


def the_best_of_many(visitor: Visitor) -> None:
    visitor.draw(num_images=1, best_of=3, video=True)


def a_comparison(visitor: Visitor) -> None:
    visitor.client.predict(compared(visitor)["comparison"], api_name="/bundle_export")


def an_opened_comparison(visitor: Visitor) -> None:
    found = visitor.client.predict(compared(visitor)["comparison"], api_name="/bundle_export")
    upload = visitor.folder.parent / f"{visitor.owner}.zip"
    upload.write_bytes(Path(found["path"]).read_bytes())
    visitor.client.predict(handle_file(str(upload)), api_name="/bundle_open")


def a_grid(visitor: Visitor) -> None:
    visitor.client.predict("a fox", "sketch", {"name": "seed", "values": "1..2"}, None, None,
                           STEPS, api_name="/sweep")


def an_export(visitor: Visitor) -> None:
    visitor.draw()
    visitor.client.predict(None, None, api_name="/history_export")
    visitor.client.predict(visitor.ids()[0], api_name="/history_show")


def a_walk(visitor: Visitor) -> None:
    files, _ = visitor.draw(num_images=1)
    picture = visitor.folder.parent / f"{visitor.owner}.png"
    picture.write_bytes(Path(files[0]["path"]).read_bytes())
    visitor.client.predict("", "a cat", 3, 0, {"prior_steps": 2, "decoder_steps": 2},
                           handle_file(str(picture)), api_name="/walk")


def an_inside(visitor: Visitor) -> None:
    """All that the tab makes of a kept picture, and of an upload of the same file."""
    files, _ = visitor.draw(num_images=1)
    [name] = visitor.ids()
    picture = visitor.folder.parent / f"{visitor.owner}.png"
    picture.write_bytes(Path(files[0]["path"]).read_bytes())
    ways: tuple[dict[str, Any], ...] = ({"kept": name}, {"picture": handle_file(str(picture))})
    for given in ways:
        for endpoint, fields in (("score", {"prompt": "a fox"}), ("codes", {}), ("code", {}),
                                 ("stream", {"prompt": "a fox"}),
                                 ("complete", {"prompt": "a fox", "count": 1})):
            visitor.client.predict(api_name=f"/inside_{endpoint}", **fields, **given)
    visitor.client.predict(api_name="/inside_mix", kept=name, other_kept=name)
    assert {path.stem for path in visitor.new()} >= {
        "heat-map", "picture", "reconstruction", "difference", "patch", "nearest-1", "nearest-8",
        "furthest", "patches", "together", "pasted",
        "completion-1"}


def addresses_of_a_program(visitor: Visitor) -> None:
    answer = httpx.post(f"{visitor.app.url}v1/images/generations", timeout=300, headers={
        HEADER: visitor.token}, json={"prompt": "a fox", "model": "sketch", "n": 2,
                                      "response_format": "url", "options": STEPS})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("make", [a_film, the_best_of_many, a_comparison, an_opened_comparison,
                                  a_grid, an_export, a_walk, an_inside,
                                  addresses_of_a_program])
def test_nothing_that_holds_a_picture_outlives_it(visitor: Visitor,
                                                  make: Callable[[Visitor], None]) -> None:
    make(visitor)
    made = visitor.new()
    assert any(visitor.fetch(visitor.file(path)) == 200 for path in made
               if "exports" not in path.parts) or "exports" in str(made)
    visitor.erase(visitor.ids())
    assert visitor.new() == set()
    assert {visitor.fetch(visitor.file(path)) for path in made} <= {403, 404}


def test_what_inside_made_of_an_upload_goes_with_what_the_upload_was_made_of(
        visitor: Visitor) -> None:
    visitor.draw(num_images=1)
    [name] = visitor.ids()
    picture = visitor.folder.parent / f"{visitor.owner}.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    visitor.client.predict(handle_file(str(picture)), api_name="/inside_codes")
    [upload] = [path for path in visitor.new() if path.read_bytes() == picture.read_bytes()]
    note(upload, [visitor.app.history.get(visitor.owner, name).sha256])
    before = visitor.new()
    visitor.client.predict({"path": str(upload), "meta": {"_type": "gradio.FileData"}},
                           api_name="/inside_codes")
    made = visitor.new() - before
    assert made
    visitor.erase([name])
    assert not any(path.exists() for path in made)


def test_the_pictures_that_an_opened_comparison_was_given_go_with_those_of_its_file(
        tmp_path: Path) -> None:
    """Their copies say less of themselves than the files did, so that the bytes differ."""
    bundle, buffer, exif = read_zip(EXAMPLE.read_bytes()), io.BytesIO(), Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG", exif=exif)
    kept = buffer.getvalue()
    given = replace(bundle, files={**bundle.files, "inputs/init-image.png": kept},
                    facts=bundle.facts.model_copy(update={"inputs": [BundleInput(
                        name="init_image", file="inputs/init-image.png",
                        sha256=digest_of(kept))]}))

    class Store(PictureStore):
        def __init__(self) -> None:
            pass

        def new_folder(self) -> Path:
            return tmp_path

        def serve(self, path: Path, made_of: Any) -> Path:
            note(path, made_of)
            return path

    shown = without_metadata(kept)
    assert shown != kept
    paths = _inputs(given, {"init_image": shown}, Store())
    assert Path(paths["init_image"]).read_bytes() == shown
    assert noted(Path(paths["init_image"])) == [digest_of(kept)]


def test_a_films_addresses_end_with_the_first_of_its_pictures(visitor: Visitor) -> None:
    files, _ = visitor.draw(video=True)
    [film] = [path for path in visitor.new() if path.name == FILM]
    addresses = [f"{visitor.app.url}videos/{film.parent.name}{rest}" for rest in (
        ".mp4", "/0", "/1")]
    assert [visitor.fetch(each) for each in addresses] == [200] * 3
    one, other = visitor.ids()
    visitor.erase([one])
    assert [visitor.fetch(each) for each in addresses] == [404] * 3
    kept = digest_of(visitor.app.history.files.read(
        visitor.app.history.get(visitor.owner, other).sha256))
    left = [path for path in visitor.new() if digest_of(path.read_bytes()) == kept]
    assert left, "the other picture stays where the page shows it"
    assert {path.suffix for path in visitor.new()} == {".png"}
    assert len(files) == 3


def test_a_comparison_that_is_still_open_shows_and_saves_the_picture_no_more(
        visitor: Visitor) -> None:
    found = compared(visitor)
    visitor.erase(visitor.ids()[:1])
    with pytest.raises(AppError, match="A picture of it is gone: it was deleted for good"):
        visitor.client.predict(found["comparison"], api_name="/bundle_export")


def test_a_picture_of_the_same_pixels_goes_with_the_one_that_is_kept(tmp_path: Path,
                                                                     cache_folder: Path) -> None:
    """Of equal pictures the history keeps one; the page shows each as a file of its own."""
    history, sketch = make_history(tmp_path), WatchedSketch()
    registry = Registry()
    registry.register(sketch)
    request = registry.check({"pipeline": "sketch", "prompt": "a fox", "num_images": 3, "seed": 5})
    same = np.full((8, 8, 3), 5, np.uint8)
    drawn = Result(tuple(Candidate(same + (seed == 6), seed, place, {"clip": 0.5})
                         for place, seed in enumerate((5, 6, 7))), 1.0,
                   {"prompt": "a fox", "pipeline": "sketch", "job_id": "j"})
    try:
        cards = PictureStore(gr.HTML()).keep(request, Recorder(history)(drawn, "me"), sketch)
        first, other, twin = (card.path for card in cards)
        assert cards[2].equal_to_seed == 5
        history.on_purge = CacheFolder(cache_folder, 10**9).forget
        history.delete("me", [cards[0].picture_id])
        history.purge("me")
        assert [path.exists() for path in (first, other, twin)] == [False, True, False]
    finally:
        history.close()


def test_what_another_process_deletes_goes_at_the_next_sweep(tmp_path: Path) -> None:
    """The command line, a second server, and one that was killed before it told its cache."""
    served, other = make_history(tmp_path / "data"), make_history(tmp_path / "data")
    cache = CacheFolder(tmp_path / "cache", 10**9)
    one, two = served.add("me", [new_picture(seed=1), new_picture(seed=2)])
    copies = {each.id: written(cache.folder, f"pictures/{each.id}/a.png", 60,
                               served.files.read(each.sha256)) for each in (one, two)}
    grid = written(cache.folder, "pictures/token/grid.png", 60)
    note(grid, [one.sha256, two.sha256])
    try:
        forget_erased(served, cache)
        assert grid.is_file(), "nothing is gone yet"
        other.delete("me", [one.id])
        other.purge("me")
        forget_erased(served, cache)
        assert not grid.exists()
        assert not grid.with_name(f"grid.png{NOTE}").exists()
        assert [copies[each.id].exists() for each in (one, two)] == [False, True]
        # What comes later is somebody's own again: an upload, and what is made of it.
        upload = written(cache.folder, f"{'a' * 64}/a.png", 0, new_picture(seed=1).data)
        later = written(cache.folder, "pictures/other/grid.png")
        note(later, [one.sha256])
        for path in (upload, later, later.with_name(f"grid.png{NOTE}")):
            age(path, -MADE_S - 60)
        forget_erased(served, cache)
        assert upload.exists()
        assert later.exists()
        served.add("me", [new_picture(seed=1)])  # kept again: nobody forgets it any more
        assert [each.sha256 for each in served.erased()] == []
    finally:
        served.close()
        other.close()


def test_a_note_goes_with_its_file_and_not_before(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path, 10**9)
    grid = written(tmp_path, "pictures/token/grid.png", 3600)
    note(grid, ["ab" * 32])
    beside = grid.with_name(f"grid.png{NOTE}")
    age(beside, 90_000)
    assert cache.sweep() == 0
    assert beside.is_file(), "older than its file, and still of use"
    age(grid, 90_000)
    assert cache.sweep() == 1
    assert not beside.exists()
    note(grid, ["ab" * 32])
    age(beside, 90_000)
    cache.sweep()
    assert not beside.exists(), "nobody's"


def test_the_best_of_a_ranking_say_what_they_are_made_of(tmp_path: Path) -> None:
    first = written(tmp_path, "a.png", 0, b"first")
    twin = written(tmp_path, "b.png", 0, b"twin")
    note(twin, [digest_of(b"kept")])

    class Store(PictureStore):
        def __init__(self) -> None:
            pass

        def new_folder(self) -> Path:
            return tmp_path / "out"

        def serve(self, path: Path, made_of: Any) -> Path:
            note(path, made_of)
            return path

    cards = [Card(path, "a fox", "sketch", 1, 0.5, 0.5, ()) for path in (first, twin)]
    ranking = Ranking((("a fox", 1.0),), (), np.array([0.5, 0.4]), (0, 1))
    path = _save(Store(), ranking, run_files(cards), 2)
    assert set(noted(path)) == {digest_of(b"first"), digest_of(b"twin"), digest_of(b"kept")}
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 2


