"""The prompts that the page offers: what they ask for, and that it comes."""

from __future__ import annotations

import pytest

from benchmarks.chips import SEED, asked_for, offered, surprises
from benchmarks.tasks import Wanted
from easel.serving.backend import LocalBackend
from easel.settings import Settings
from pipelines.core.events import Result
from pipelines.engine import build_cache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.registry import build_registry


@pytest.mark.parametrize(("text", "wanted", "relation"), [
    ("a red apple next to a blue car", (Wanted("apple", 1, "red"), Wanted("car", 1, "blue")), None),
    ("a dog right of a chair", (Wanted("dog"), Wanted("chair")), "right of"),
    ("four yellow stars", (Wanted("star", 4, "yellow"),), None),
    ("a rocket in space", (Wanted("rocket"),), None)])
def test_a_prompt_is_read_by_the_names_in_it(text: str, wanted: tuple[Wanted, ...],
                                             relation: str | None) -> None:
    found = asked_for(text)
    assert (found.wanted, found.relation) == (wanted, relation)


def test_every_offered_prompt_asks_for_something() -> None:
    assert [text for text in (*offered(), *surprises(50)) if not asked_for(text).wanted] == []


def recognised(prompts: list[str], count: int) -> dict[str, str]:
    """Of each prompt the one of all whose text CLIP holds to be nearest to the picture that it
    puts first of two: its own where the picture shows what the prompt says and the others do not.

    CLIP has seen no picture by DALL·E. The judge of ``benchmarks`` cannot be asked: it was trained
    on one style of art.

    Args:
        prompts: drawn and recognised.
        count: how many of them, from the first on, are drawn.
    """
    backend = LocalBackend(build_registry(), build_cache(Settings(device="cpu")))
    try:
        pictures = [next(event for event in backend.stream(backend.registry.check(
            {"pipeline": "dalle", "prompt": prompt, "num_images": 2, "seed": SEED}))
            if isinstance(event, Result)).candidates[0].image for prompt in prompts[:count]]
        with backend.cache.lease(RANKER) as ranker:
            near = embed_images(ranker, pictures) @ embed_texts(ranker, prompts).T
    finally:
        backend.close()
    return {prompt: prompts[int(row.argmax())]
            for prompt, row in zip(prompts, near, strict=False)}


@pytest.mark.weights("dalle", "clip-ranker")
def test_what_each_chip_says_is_drawn() -> None:
    found = recognised(offered(), len(offered()))
    taken = {prompt: other for prompt, other in found.items() if prompt != other}
    assert len(taken) <= 1, taken


@pytest.mark.weights("dalle", "clip-ranker")
def test_what_surprises_say_is_drawn() -> None:
    found = recognised([*surprises(10), *offered()], 10)
    taken = {prompt: other for prompt, other in found.items() if prompt != other}
    assert len(taken) <= 1, taken
