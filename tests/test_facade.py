"""The engine's four functions: pictures of Pillow in and out, typed, alone, imported when used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines import classify, compare, draw, rank
from pipelines.core.errors import InvalidImage, InvalidRequest, WeightsError
from pipelines.core.events import Event, Progress
from pipelines.core.metadata import read_png
from pipelines.engine import Engine, process_engine
from pipelines.facade import Picture
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from tests.small_models import small_cache
from tests.test_library import ALONE, alone
from tests.watched_sketch import WatchedSketch


def untyped(value: object) -> Any:
    """A value of a type that a checker would refuse."""
    return value


RED, BLUE = Image.new("RGB", (80, 60), "red"), Image.new("RGB", (60, 80), "blue")


@pytest.fixture
def sketches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Two generators that need no weights."""
    registry = Registry()
    for name, title in (("sketch", "Sketch"), ("etching", "Etching")):
        registry.register(WatchedSketch(name, title))
    cache: ModelCache = small_cache()
    monkeypatch.setattr("pipelines.facade.process_engine", lambda: Engine(registry, cache))
    yield registry
    cache.close()


def test_the_same_seed_draws_the_same_picture_best_first(sketches: Registry,
                                                         tmp_path: Path) -> None:
    events: list[Event] = []
    pictures = draw("a red apple", num_images=3, seed=5, progress=events.append, steps=2,
                    pause_s=0)
    assert [type(p) for p in pictures] == [Picture] * 3
    assert sorted(p.seed for p in pictures) == [5, 6, 7]
    scores = [p.scores["clip"] for p in pictures]
    assert scores == sorted(scores, reverse=True)
    assert [e.step for e in events if isinstance(e, Progress) and e.step][:2] == [1, 2]
    alone_again = draw("a red apple", "sketch", num_images=1, seed=pictures[1].seed, steps=2,
                       pause_s=0)
    assert np.array_equal(np.array(alone_again[0].image), np.array(pictures[1].image))

    path = pictures[0].save(tmp_path / "best.png")
    facts = read_png(path.read_bytes())["easel"]
    assert facts["prompt"] == "a red apple"
    assert facts["seed"] == pictures[0].seed
    assert facts["options"]["steps"] == 2
    assert pictures[1].save(tmp_path / "best.png") != path
    assert pictures[1].save(tmp_path / "plain").read_bytes() == pictures[1].png
    for name in ("best.jpg", "v1.2", "best.png "):
        with pytest.raises(InvalidRequest, match="saved as PNG, not"):
            pictures[0].save(tmp_path / name)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best-2.png", "best.png", "plain"]


def test_a_comparison_shares_its_seed_and_survives_a_failure(sketches: Registry) -> None:
    def damaged(*args: object) -> None:
        raise WeightsError("The file {} is damaged.", "model.safetensors")

    broken = WatchedSketch("broken", "Broken")
    broken.draw = damaged  # type: ignore[method-assign]
    sketches.register(broken)
    first, failed, third = compare("a red apple", [
        ("sketch", {"steps": 2, "pause_s": 0}), "broken", ("etching", {"steps": 3, "pause_s": 0})])
    assert (first.generator, first.options["steps"], third.options["steps"]) == ("sketch", 2, 3)
    assert first.pictures[0].seed == third.pictures[0].seed
    assert failed.pictures == ()
    assert str(failed.error) == "The file model.safetensors is damaged."
    assert first.error is None
    assert [each.generator for each in compare("a cat")] == ["sketch", "etching", "broken"]
    with pytest.raises(WeightsError, match="damaged"):
        compare("a cat", ["broken", "broken"])


@pytest.mark.parametrize(("call", "says"), [
    (lambda: draw("a cat", "nobody"), "no generator called 'nobody'"),
    (lambda: draw(" "), "prompt is empty"),
    (lambda: draw("a cat", num_images=0), "must be a whole number between 1 and 16"),
    (lambda: draw("a cat", colour="red"), "no option called"),
    (lambda: compare("a cat", ["sketch", ("etching", {"steps": 0})]), "Steps must be"),
    (lambda: rank([], "a cat"), "no pictures"),
    (lambda: rank([RED], " "), "prompt is empty"),
    (lambda: classify([], ["a", "b"]), "no pictures"),
    (lambda: classify([RED], ["a"]), "One label alone"),
    (lambda: rank([Image.new("1", (6000, 5000))], "a cat"), "megapixels is the most"),
])
def test_what_is_wrong_is_said_before_anything_is_drawn(sketches: Registry, call, says) -> None:
    with pytest.raises(InvalidRequest, match=says):
        call()
    assert all(getattr(sketches.get(name), "finished", 0) == 0 for name in sketches.names())


@pytest.mark.parametrize(("call", "says"), [
    (lambda: rank(untyped(["apple.png"]), "a"), "one of Pillow's, not of the type str"),
    (lambda: rank([RED], untyped(None)), "The prompt is empty"),
    (lambda: draw("a", "sketch", init_image=untyped(b"x")), "not of the type bytes"),
    (lambda: classify([RED], untyped([None, 1])), "Labels are a list of texts"),
    (lambda: classify([RED], "apple"), "Labels are a list of texts"),
    (lambda: compare("a", untyped([("sketch", "sketch", "sketch"), 5])),
     "A way to draw is a generator's"),
    (lambda: compare("a", untyped([5])),
     "A way to draw is a generator's name, or its name and options"),
])
def test_what_is_of_another_type_is_said(sketches: Registry, call: Callable[[], object], says: str,
                                         ) -> None:
    with pytest.raises(InvalidRequest, match=says):
        call()


def test_what_was_drawn_is_ranked_as_it_is(sketches: Registry) -> None:
    drawn = compare("a cat", "sketch", num_images=2, seed=3)[0].pictures
    ranked = rank(drawn, "a cat")
    assert sorted(each.index for each in ranked) == [0, 1]
    assert ranked[0].image is drawn[ranked[0].index].image
    assert len(classify(drawn[0], ["cat", "dog"])) == 1


def test_any_picture_of_pillow_is_taken_and_left_as_it_is(sketches: Registry) -> None:
    turned = Image.new("RGB", (80, 60), "red")
    turned.getexif()[0x0112] = 6
    data = BytesIO()
    turned.save(data, "JPEG", exif=turned.getexif())
    opened = Image.open(data)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    for image in (opened, clear, Image.new("CMYK", (64, 64)), Image.new("I;16", (64, 64)),
                  Image.new("P", (64, 64)), Image.new("F", (64, 64))):
        before = image.size, image.mode
        assert len(draw("a cat", num_images=1, init_image=image, steps=1, pause_s=0)) == 1
        assert (image.size, image.mode) == before
    whole = BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "PNG")
    cut = Image.open(BytesIO(whole.getvalue()[:2000]))
    with pytest.raises(InvalidImage, match="damaged or cut short"):
        draw("a cat", init_image=cut)


@pytest.mark.weights("clip-ranker")
def test_pictures_are_ranked_and_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            repository: Path) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EASEL_DEVICE", "cpu")
    process_engine.cache_clear()
    try:
        apple = Image.open(next((repository / "assets" / "samples").glob("1-*.png")))
        ranked = rank([BLUE, apple], "a red apple next to a blue car at the beach")
        assert [r.index for r in ranked] == [1, 0]
        assert ranked[0].image is apple
        assert -1 <= ranked[1].score < ranked[0].score <= 1
        assert sum(r.probability for r in ranked) == pytest.approx(1)
        found = classify([apple, BLUE], ["a red apple and a car", "a dog"])
        assert found[0].label == "a red apple and a car"
        assert found[0].probability == max(found[0].probabilities.values())
        assert [sum(f.probabilities.values()) for f in found] == pytest.approx([1, 1])
        assert not list(tmp_path.iterdir()), "the engine writes nothing"
    finally:
        process_engine().cache.close()
        process_engine.cache_clear()


def test_the_facade_imports_nothing_until_it_is_used_and_never_the_application(
        repository: Path) -> None:
    head = ALONE.partition("import torch")[0]
    done = alone(f"""{head}
import pipelines
assert not {{"torch", "numpy", "PIL"}} & set(sys.modules), "importing costs nothing"
from pipelines import draw, compare, rank, classify
assert callable(classify) and "torch" in sys.modules
import pipelines.zero_shot
from pipelines import classify as again
assert again is classify
print(draw.__module__)
""", repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "pipelines.facade"


def test_there_is_nothing_else(repository: Path) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = pipelines.nobody
    shown = subprocess.run([sys.executable, "-c", "import pipelines; print(pipelines.__all__)"],
                           cwd=repository, capture_output=True, text=True, timeout=600)
    assert shown.stdout.strip() == str(pipelines.__all__)
