"""Batches of finished and unfinished pictures with their captions."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from training.data import World
from training.drafts import Drafts

CONFIG = {"denoise": 3, "recall": 2, "denoise_kinds": {"single": 1.0}, "seed": 4,
          "split": "test-drafts"}


def place(text: str, pattern: str) -> int:
    """Where a text has the first of some words."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found.start()


def test_things_are_named_in_the_scenes_order() -> None:
    world = World()
    sampler = world.sampler("test-order", kinds={"pair": 1.0})
    for scene in (sampler.sample(i) for i in range(20)):
        left, right = scene.objects
        scene = replace(scene, objects=(replace(left, concept="dog", colour=None),
                                        replace(right, concept="bicycle", colour=None)))
        said = [world.caption(scene, salt, "en", in_order=True) for salt in range(4)]
        anyhow = [world.caption(scene, salt, "en") for salt in range(30)]
        wheels = [place(text, "bike|bicycle|cycle") for text in said + anyhow]
        others = [place(text, "dog|puppy|doggy|hound|canine") for text in said + anyhow]
        order = [dog < bike for dog, bike in zip(others, wheels, strict=True)]
        assert all(order[:4])
        assert len(set(order)) == 2


def test_batches_hold_what_the_configuration_says() -> None:
    drafts = Drafts(CONFIG, World(), 24)
    (begun, finished, ids), (pictures, said) = drafts.batch(5)
    assert begun.shape == finished.shape == (3, 3, 24, 24)
    assert pictures.shape == (2, 3, 24, 24)
    assert ids.shape == (3, 32)
    assert said.shape == (2, 32)
    assert not torch.equal(begun, finished)
    again = drafts.batch(5)
    assert torch.equal(again[0][0], begun)
    assert torch.equal(again[1][0], pictures)
    assert not torch.equal(drafts.batch(6)[1][0], pictures)


def test_a_part_that_is_not_asked_for_is_empty() -> None:
    drafts = Drafts({**CONFIG, "denoise": 0}, World(), 24)
    (begun, _, ids), (pictures, _) = drafts.batch(0)
    assert len(begun) == len(ids) == 0
    assert len(pictures) == 2
