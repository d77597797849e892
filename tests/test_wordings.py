"""Prompts of the benchmarks in Portuguese and in every medium, and the figures from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.languages import difference95
from benchmarks.media import media_prompts, recognised
from benchmarks.portuguese import in_portuguese
from benchmarks.report import languages_table, media_table
from benchmarks.scoring import Pool, Score
from benchmarks.tasks import TASKS, TaskPrompt, task_prompts
from benchmarks.zero_shot import concept_scenes, render_uint8
from easel.settings import Settings
from pipelines.engine import build_cache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.world.concepts import concepts_by_id
from pipelines.world.scenes import MEDIA
from training.data import World

CONCEPTS = concepts_by_id()
PROMPTS = task_prompts(CONCEPTS)


def test_portuguese_asks_for_the_same() -> None:
    said = {p.text: in_portuguese(p, CONCEPTS).text for group in PROMPTS.values() for p in group}
    assert said["a photo of some broccoli"] == "uma foto de um brócolis"
    assert said["a photo of a blue wine glass"] == "uma foto de uma taça de vinho azul"
    assert said["a photo of three sheep"] == "uma foto de três ovelhas"
    assert said["a photo of a train left of an elephant"] == (
        "uma foto de um trem à esquerda de um elefante")
    assert said["a photo of a red spoon and a brown book"] == (
        "uma foto de uma colher vermelha e um livro marrom")
    two = next(p for p in PROMPTS["counting"] if p.wanted[0].count == 2
               and CONCEPTS[p.wanted[0].concept].pt_gender == "f")
    assert said[two.text].startswith("uma foto de duas ")
    for task in TASKS:
        texts = {in_portuguese(p, CONCEPTS).text for p in PROMPTS[task]}
        assert len(texts) == len(PROMPTS[task])


def test_every_portuguese_word_is_in_the_vocabulary() -> None:
    vocabulary = load_vocabulary()
    for task in TASKS:
        for prompt in PROMPTS[task]:
            assert not vocabulary.unknown_words(in_portuguese(prompt, CONCEPTS).text)


def pool(task: str, *right: bool) -> Pool:
    prompt = TaskPrompt(task, "", ())
    return Pool(prompt, tuple(Score(r, r, (r,)) for r in right), (0.0,) * len(right))


def test_the_difference_is_paired() -> None:
    some = [pool("colours", n % 3 > 0, n % 2 > 0) for n in range(40)]
    assert difference95(some, some) == (0.0, 0.0)
    worse = [replace(p, scores=tuple(Score(False, False, (False,)) for _ in p.scores))
             for p in some]
    low, high = difference95(some, worse)
    assert 0.3 < low < np.mean([s.correct for p in some for s in p.scores]) < high < 0.8


def test_every_medium_asks_for_the_same_things() -> None:
    prompts = media_prompts(list(CONCEPTS.values()), 3)
    assert len({p.text for p in prompts}) == len(prompts) == 3 * len(MEDIA)
    assert [p.wanted for p in prompts[::len(MEDIA)]] == [
        p.wanted for p in prompts[len(MEDIA) - 1::len(MEDIA)]]


@pytest.mark.weights("clip-ranker")
def test_the_ranker_tells_the_media_of_renders(tmp_path) -> None:
    world = World()
    picked = [c for c in world.concepts if c.coco][:8]
    cache = build_cache(Settings(data_dir=tmp_path))
    with cache.lease("embedded/clip-ranker") as ranker:
        pictures, asked = [], []
        for medium in ("pencil", "mosaic", "neon"):
            scenes = [s for s in concept_scenes(world, medium)
                      if world.by_id[s.objects[0].concept] in picked]
            pictures += render_uint8(world, scenes, ranker.image_size)
            asked += [(world.by_id[s.objects[0].concept], medium) for s in scenes]
        shares = recognised(np.stack(pictures), asked, ranker)
        wrong = recognised(np.stack(pictures), asked[8:] + asked[:8], ranker)
    cache.close()
    assert set(shares) == {"pencil", "mosaic", "neon", "mean"}
    assert shares["mean"] > 0.8 > 0.3 > wrong["mean"]


def test_the_tables_name_who_drew_and_how_many() -> None:
    shares = {"emoji": 0.5, "oil": 0.25, "mean": 0.375}
    media = media_table({"renders": shares | {"pictures": 4580},
                         "dalle": shares | {"pictures": 240, "weights_sha256": {}}}).splitlines()
    assert media[0] == "| medium recognised | renders (4,580 pictures) | dalle (240 pictures) |"
    assert media[2:] == ["| emoji | 0.50 | 0.50 |", "| oil | 0.25 | 0.25 |",
                         "| mean | 0.38 | 0.38 |"]
    figures = {"en": {"overall": 0.86, "pictures": 192}, "pt": {"overall": 0.84, "pictures": 192},
               "pt_falls_short_by": 0.02, "interval95": [-0.01, 0.05]}
    assert languages_table({"dalle": figures}).splitlines()[2] == (
        "| dalle | 0.86 | 0.84 | +0.02 (-0.01 to +0.05) | 192 |")
    del figures["pt_falls_short_by"], figures["interval95"]
    assert languages_table({"dalle": figures}).endswith("| dalle | 0.86 | 0.84 |  | 192 |")
