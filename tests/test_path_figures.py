"""What the path's lessons say that one sees is what the embedded models do, in each language."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.results import RESULTS_DIR, read_results
from easel.ui.inside.stream import written_in
from easel.ui.lab.example import COLLECTION
from easel.ui.parts.samples import SAMPLES
from easel.words import strings
from easel.words.language import ENGLISH, PORTUGUESE, figure, say, speaking
from pipelines.core.images import load_image
from pipelines.core.metadata import read_png
from pipelines.dalle import TRANSFORMER
from pipelines.inside.codes import ReadCodes
from pipelines.inside.contrast import ContrastPairs
from pipelines.inside.loop import WatchLoop
from pipelines.inside.prior import WatchPrior
from pipelines.inside.stream import ReadStream, Stream
from pipelines.inside.written import write_again
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.rerank import similarities
from tests.conftest import REPOSITORY

BOTH = pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
# What the third lesson has one write, and where it says that the black cat stands without "black".
CATS = {ENGLISH: ("a cat", "black", 4, 11, 3), PORTUGUESE: ("um gato", "preto", 6, 16, 7)}
DECIMAL = {ENGLISH: ".", PORTUGUESE: ","}


BANANAS = {ENGLISH: "three bananas", PORTUGUESE: "três bananas"}


def seen(number: int) -> str:
    """What one sees in a lesson, and who goes further, in the language to speak now."""
    lesson = strings.PATH_LESSONS[number - 1]
    return f"{lesson[4]} {lesson[6]}"


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

        assert loss(texts, 0.07) < 0.25
        assert loss(exchanged, 0.07) > 4
        assert loss(exchanged, 0.02) > 14
        assert loss([*texts[:2], texts[3], texts[2]], 0.07) == pytest.approx(2, abs=0.2)
        for said in (texts, exchanged):
            assert figure(loss(said, 1), ".1f") in seen(1)
        assert figure(np.log(4), ".2f") in seen(1)


@BOTH
@pytest.mark.weights("clip-ranker")
def test_names_for_pictures(models: ModelCache, language: str) -> None:
    with models.lease(RANKER) as clip, speaking(language):
        assert figure(clip.logit_scale, ".2f") in seen(2)
        assert figure(1 / clip.logit_scale, ".3f") in seen(2)


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
    with speaking(language):
        assert figure(float((pictures @ whole).max()), ".2f") in seen(3)
    assert names(whole).index(first[0]) == before - 1
    without = names(whole - colour)
    assert without.index(first[0]) >= after - 1
    assert without.index("3-an-orange-cat-and-a-blue-umbrella") == orange - 1
    assert "giraffe" in without[0]
    if language == PORTUGUESE:
        assert names(whole).index("3-an-orange-cat-and-a-blue-umbrella") == 7
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
        assert cosine == pytest.approx(found.cosines[-1], abs=1e-5)
        early, middle, late = (found.cosines[at] for at in (0, 4, -1))
        assert (found.steps[3].step, found.steps[4].step) == (9, 14)
        assert middle > early + 0.3  # it rises, and then hardly or no more
        assert late < middle + 0.1


def by_layer(found: Stream) -> np.ndarray:
    """The surprise of each layer's mean block."""
    return found.surprise.reshape(len(found.layers), -1).mean(1)


@BOTH
@pytest.mark.weights("dalle", "layer-vqgan", "minilm")
def test_one_word_after_another(models: ModelCache, language: str) -> None:
    written = written_in(sorted(SAMPLES.glob("*.png"))[0].read_bytes())
    assert written is not None
    with models.lease(TRANSFORMER) as model:
        image = write_again(written, model).picture
    with speaking(language):
        prompt = say(written.prompt)
        assert prompt == say(strings.FIRST_PROMPT)
        assert BANANAS[language] in strings.PATH_LESSONS[5][2]
        assert BANANAS[language] in seen(6)
    right, wrong = (ReadStream(image, text, written=written).answer(models)
                    for text in (prompt, BANANAS[language]))
    assert not right.reread
    without = float(right.without.sum())
    assert float(right.surprise.sum()) < without < float(wrong.surprise.sum())
    surprised: dict[str, list[float]] = {"at once": [], "draft": [], "finished": []}
    for stage, mean in zip(right.stages, by_layer(right), strict=True):
        surprised[stage.how].append(mean)
    assert (len(surprised["at once"]), len(surprised["draft"])) == (1, 2)
    known = max(*surprised["at once"], *surprised["draft"])
    assert min(surprised["finished"]) > 5 * known
    plan = {(token.kind, token.thing): token for token in right.plan}
    assert plan["background", 0].value == "beach"
    assert plan["background", 0].likely > 0.9 > 0.2 > plan["background", 0].likely_without
    for place in (plan[kind, thing] for kind in ("column", "row") for thing in (1, 2)):
        assert place.likely < 0.9, "where things stand stays open"
    uploaded = ReadStream(image, prompt).answer(models)
    assert uploaded.reread
    assert uploaded.surprise.mean() > 2 * right.surprise.mean()
    words = list(right.looked.words)
    layers = right.looked.shares.reshape(len(right.stages), -1, len(words)).mean(1)
    if language == ENGLISH:
        for word, thing in {"red": 1, "apple": 1, "blue": 2, "car": 2}.items():
            assert right.stages[layers[:, words.index(word)].argmax()].thing == thing, word


@pytest.mark.weights("dalle", "layer-vqgan", "minilm")
def test_the_pictures_that_stand_in_the_views_first_are_dalles_own(models: ModelCache) -> None:
    for path in sorted(SAMPLES.glob("*.png")):
        data = path.read_bytes()
        found = ReadStream(load_image(data), "a cat", written=written_in(data)).answer(models)
        assert not found.reread, path.name


@BOTH
@pytest.mark.weights("vqgan")
def test_a_picture_in_numbers(models: ModelCache, language: str) -> None:
    with speaking(language):
        distinct = [ReadCodes(image).answer(models).distinct for image in samples()[0]]
        assert all(str(count) in seen(4) for count in (min(distinct), max(distinct)))


@BOTH
@pytest.mark.weights("unclip-prior", "unclip-decoder", "clip-guide", "clip-ranker", "vqgan")
def test_what_the_prior_is_for(models: ModelCache, language: str) -> None:
    with speaking(language):
        found = WatchPrior(say(strings.FIRST_PROMPT)).answer(models)
        assert figure(found.own_cosines[0], ".2f") in seen(7)
    assert found.with_prior.embedding.cosine > 0.98
    gain = found.with_prior.ranker_cosine - found.without_prior.ranker_cosine
    assert gain < -0.3 if language == ENGLISH else abs(gain) < 0.1


@BOTH
def test_the_best_of_many(language: str) -> None:
    four = read_results(RESULTS_DIR / "eyes.json")["dalle"]["best"]
    assert four["of"] == 4
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
