"""What the path's lessons say that one sees is what the embedded models do, in each language."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.results import RESULTS_DIR, read_results
from easel.ui.lab.example import COLLECTION
from easel.ui.parts.samples import SAMPLES
from easel.words import strings
from easel.words.language import ENGLISH, PORTUGUESE, figure, say, speaking
from pipelines.core.images import load_image
from pipelines.core.metadata import read_png
from pipelines.inside.contrast import ContrastPairs
from pipelines.inside.loop import WatchLoop
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.rerank import similarities
from tests.conftest import REPOSITORY

BOTH = pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
# What the third lesson has one write, and where it says that the black cat stands without "black".
CATS = {ENGLISH: ("a cat", "black", 3, 11, 2), PORTUGUESE: ("um gato", "preto", 5, 16, 3)}
DECIMAL = {ENGLISH: ".", PORTUGUESE: ","}


def seen(number: int) -> str:
    """What one sees in a lesson, in the language to speak now."""
    return strings.PATH_LESSONS[number - 1][4]


@pytest.fixture(scope="module")
def models() -> Iterator[ModelCache]:
    cache = ModelCache(CatalogueLoader(Catalogue.load()), "cpu")
    yield cache
    cache.close()


def samples() -> tuple[list[np.ndarray], list[str]]:
    """The pictures that stand in the views first, with their prompts in the language to speak."""
    files = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))]
    return [load_image(file) for file in files], [
        say(str(read_png(file)["easel"]["prompt"])) for file in files]


@BOTH
@pytest.mark.weights("clip-ranker")
def test_pairs_against_pairs(models: ModelCache, language: str) -> None:
    with speaking(language):
        images, texts = samples()
        exchanged = [texts[1], texts[0], *texts[2:]]

        def loss(said: list[str], temperature: float) -> float:
            return ContrastPairs(images, said, temperature).answer(models).loss

        assert loss(texts, 0.07) < 0.1
        assert loss(exchanged, 0.07) > 4
        assert loss(exchanged, 0.02) > 14
        for said in (texts, exchanged):
            assert figure(loss(said, 1), ".1f") in seen(1)
        assert figure(np.log(4), ".2f") in seen(1)


@BOTH
@pytest.mark.weights("clip-ranker")
def test_looking_for_pictures(models: ModelCache, language: str) -> None:
    paths = sorted([*COLLECTION.glob("*.png"), *SAMPLES.glob("*.png")])
    cat, black, before, after, orange = CATS[language]
    with models.lease(RANKER) as clip:
        pictures = embed_images(clip, [load_image(path.read_bytes()) for path in paths])
        whole, colour = embed_texts(clip, [cat, black])
        with speaking(language):
            black_cat = embed_texts(clip, [strings.LAB_COLLECTION_TEXT])[0]

    def names(direction: np.ndarray) -> list[str]:
        return [paths[index].stem for index in np.argsort(-(pictures @ direction))]

    first = names(black_cat)
    assert first[0] == "a-black-cat-at-the-beach"
    assert names(whole)[0] == "a-giraffe"
    assert names(whole).index(first[0]) == before - 1
    without = names(whole - colour)
    assert without.index(first[0]) >= after - 1
    assert without.index("3-an-orange-cat-and-a-blue-umbrella") == orange - 1
    assert "giraffe" in without[0]
    if language == PORTUGUESE:
        assert names(whole).index("3-an-orange-cat-and-a-blue-umbrella") == 8
        assert without[-1] == first[0]


def test_what_fits_has_about_the_cosine_that_lessons_say() -> None:
    rows = json.loads((RESULTS_DIR / "prior.json").read_text("utf-8"))["prompts"].values()
    fitting = [row["without_prior"]["mean"] for row in rows]
    assert np.median(fitting) == pytest.approx(0.6, abs=0.05)
    for language in (ENGLISH, PORTUGUESE):
        with speaking(language):
            assert all(f"0{DECIMAL[language]}6" in seen(number) for number in (3, 5))


@BOTH
@pytest.mark.weights("clip-ranker", "clip-guide", "vqgan")
def test_steps_up_a_hill(models: ModelCache, language: str) -> None:
    with speaking(language):
        prompt = say(strings.FIRST_PROMPT)
        found = WatchLoop(prompt).answer(models)
        assert found.steps[0].picture.std((0, 1)).max() < 10  # a plain field
        with models.lease(RANKER) as ranker:
            cosine = float(similarities([found.steps[-1].picture], [prompt], ranker))
        for value in (found.losses[0], found.losses[-1]):
            assert figure(value, ".2f") in seen(5)
        assert cosine < 0.3
        assert figure(0.3, ".1f") in seen(5)


@BOTH
def test_the_best_of_many(language: str) -> None:
    four = read_results(RESULTS_DIR / "compose.json")["dalle"]["best_of"]["4"]
    with speaking(language):
        said = [f"{100 * four[how]:.0f} %" for how in ("random", "clip", "oracle")]
        places = [seen(8).index(each) for each in said]
    assert places == sorted(places)
    notebook = (REPOSITORY / "notebooks" / "8-rerank.ipynb").read_text("utf-8")
    assert all(each in notebook for each in said)


@pytest.mark.weights("clip-ranker")
@pytest.mark.parametrize("texts", [
    ("a car without wheels", "a car with wheels"), ("um carro sem rodas", "um carro com rodas")])
def test_clip_hardly_reads_without(models: ModelCache, texts: tuple[str, str]) -> None:
    with models.lease(RANKER) as clip:
        one, other = embed_texts(clip, texts)
    assert float(one @ other) > 0.9
    for language in (ENGLISH, PORTUGUESE):
        with speaking(language):
            said = seen(8)
        if texts[0] in said:
            return
    pytest.fail(f"no lesson says {texts[0]!r}")
