"""What a ranker is asked while it learns: plain colours, and near misses by kind."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest
import torch
import torch.nn.functional as F

from pipelines.models.locked_clip import build
from tests.test_locked_clip import SMALL
from training.data import World
from training.examination import (
    COLOURED,
    SHOWN,
    Examination,
    Questions,
    coloured_scene,
    examine,
    right_colours,
)
from training.ranker_data import Words
from training.train_dalle import load_encoder


def test_coloured_scenes_are_of_one_thing_in_each_colour() -> None:
    scenes = [coloured_scene(n) for n in range(len(COLOURED) * len(SHOWN))]
    assert [s.objects[0].concept for s in scenes[::len(SHOWN)]] == list(COLOURED)
    for start in range(0, len(scenes), len(SHOWN)):
        assert tuple(s.objects[0].colour for s in scenes[start:start + len(SHOWN)]) == SHOWN


def test_a_colour_is_right_where_its_picture_is_first_of_its_thing() -> None:
    texts = F.one_hot(torch.arange(10)).float().repeat(6, 1)
    assert right_colours(texts, texts) == 1, "pictures of other things are not in question"
    assert right_colours(texts.roll(1, 0), texts) == 0
    half = texts.clone()
    half[30:] = half[30:].roll(1, 0)
    assert right_colours(half, texts) == 0.5


@pytest.mark.weights("efficientnet-lite0", "minilm")
def test_near_misses_are_counted_by_kind(tmp_path: Path) -> None:
    world, words = World(), Words(load_encoder(torch.device("cpu")), 20)
    examination = Examination(world, tmp_path / "asked", 64, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build(SMALL | {"word_width": 384, "most_words": 20}).eval()
    figures = examination(clip, words)
    counts = [count.split("/") for count in figures["kinds"].values()]
    assert sum(int(of) for _, of in counts) == 8
    assert sum(int(told) for told, _ in counts) / 8 == figures["hard_pairs"]
    assert 0 <= figures["colours"] < 0.5, "it has learnt nothing"


class Seer:
    """Embeds a text as a random vector, and each picture in turn as that of its caption."""

    image_size = 32

    def __init__(self, questions: Questions) -> None:
        self.expected = iter([*questions.true, *questions.asked])
        self.known: dict[str, torch.Tensor] = {}

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        for text in texts:
            generator = torch.Generator().manual_seed(crc32(text.encode()))
            self.known.setdefault(text, F.normalize(torch.randn(64, generator=generator), dim=0))
        return torch.stack([self.known[text] for text in texts])

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encode_text([next(self.expected) for _ in pixels])


def test_who_knows_each_caption_is_right_throughout() -> None:
    world = World()
    questions = Questions(world, 30, misses=3)
    assert len(questions.missed) == 90
    figures = examine(Seer(questions), world, questions)
    assert {figures[name] for name in ("hard_pairs", "top1_of_100", "text_to_picture",
                                       "colours")} == {1}
    assert all(told == of for told, of in (count.split("/")
                                           for count in figures["kinds"].values()))
    assert {"colour", "count"} <= set(figures["kinds"])
