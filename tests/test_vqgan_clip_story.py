"""Stories and starts of VQGAN+CLIP: part after part, kept over a pause, refused elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import InvalidRequest
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import build_registry
from pipelines.vqgan_clip.pixel_drawer import PixelDrawer
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.story import Story
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from pipelines.weighted_prompts import WeightedPrompt, parse_story, ranking_texts
from tests.paused_server import FEW, LIVELY, Server, cache, curve_of, images_of, same, server
from tests.test_vqgan_clip import picture

__all__ = ["cache", "server"]
TALE = "a red apple ^ a blue car:2 | a worm:-1 ^ a house"


def parts_of(story: Story, total: int, begin: int = 1) -> list[int]:
    found = []
    for step in range(begin, total + 1):
        story.goes_on(step, total)
        found.append(story.part)
    return found


def test_a_story_is_prompts_joined_by_carets() -> None:
    assert parse_story("a cat:2 | a dog") == (
        (WeightedPrompt("a cat", 2.0), WeightedPrompt("a dog")),)
    assert [[p.text for p in part] for part in parse_story(TALE)] == [
        ["a red apple"], ["a blue car", "a worm"], ["a house"]]
    assert ranking_texts(TALE) == [("a house", 1.0)], "what the finished picture shows"


@pytest.mark.parametrize("prompt", ["^", "a cat ^", "^ a cat", "a cat ^ ^ a dog", "a cat ^  "])
def test_a_story_has_no_empty_part(server: Server, prompt: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^A part of the story has no text: write prompts "
                                             r"joined by carets \(\^\)\.$"):
        server.drawn(prompt=prompt)


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": " ^ ".join(["a cat"] * 17)}, r"The story has 17 parts between carets \(\^\); 16"),
    ({"prompt": "a ^ b | | c"}, "A part of the prompt has no text"),
    ({"prompt": TALE, "options": FEW | {"iterations": 2}},
     r"A story of 3 parts with 1 steps each needs more than 2 iterations\."),
    ({"prompt": TALE, "options": FEW | {"story_steps": 3}}, "with 3 steps each needs more than 5"),
    ({"options": FEW | {"init_noise": 0.5}}, "Noise on the init image needs an init image"),
    ({"init_image": picture(), "options": FEW | {"init_noise": 0.5, "from_image": False,
                                                 "image_weight": 1}},
     "Noise on the init image needs a run that starts from the init image"),
])
def test_what_is_no_story_or_start(server: Server, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        server.drawn(**fields)


def test_others_tell_no_stories() -> None:
    registry = build_registry()
    for pipeline in registry:
        if pipeline.tells_stories:
            assert pipeline.name == "vqgan_clip"
            continue
        with pytest.raises(InvalidRequest) as caught:
            registry.check({"pipeline": pipeline.name, "prompt": "a cat ^ a dog"})
        assert str(caught.value) == (
            f"{pipeline.title} tells no stories: leave carets (^) out of the prompt.")
        assert caught.value.field == "prompt"


def test_parts_share_the_steps_or_have_their_own() -> None:
    parts: list[list[Any]] = [[], [], []]
    assert parts_of(Story(parts), 7) == [0, 0, 0, 1, 1, 2, 2]
    assert parts_of(Story(parts, 2), 7) == [0, 0, 1, 1, 2, 2, 2]
    assert parts_of(Story(parts[:1]), 3) == [0, 0, 0]


def test_a_story_never_goes_back() -> None:
    parts: list[list[Any]] = [[], []]
    story = Story(parts)
    assert parts_of(story, 4) == [0, 0, 1, 1]
    later = Story(parts)
    later.restore(3, story.state(), {"iterations": 40})
    assert parts_of(later, 40, begin=4) == [1] * 37
    anew = Story([[], [], []])
    anew.restore(3, story.state(), {"prompt": TALE, "prompt_before": "a cat ^ a dog"})
    assert parts_of(anew, 9, begin=4) == [0, 0, 1, 1, 2, 2]
    for wrong in ({"story_part": 2}, {"story_part": -1}, {"story_began": 9}):
        with pytest.raises(ValueError, match="another story"):
            Story(parts).restore(3, wrong, {})
    Story(parts).restore(3, {}, {})  # of a run that knew no stories


def test_a_part_begins_where_the_one_before_it_ended(server: Server) -> None:
    options = LIVELY | {"iterations": 6, "schedule": "constant"}
    first = server.drawn(options=options)
    tale = server.drawn(prompt="a red apple ^ a house", options=options)
    assert curve_of(tale)[:3] == curve_of(first)[:3]
    assert curve_of(tale)[3] != curve_of(first)[3]
    change = server.resume(server.paused_at(3, options=options), prompt="a house")
    assert np.array_equal(images_of(tale)[0], images_of(change)[0]), "as another prompt there"


@pytest.mark.parametrize("pause", [1, 2])
def test_a_pause_keeps_the_place_in_the_story(server: Server, pause: int) -> None:
    fields: dict[str, Any] = {"prompt": TALE, "num_images": 2, "options": LIVELY | {
        "iterations": 6, "optimiser": "adam", "patience": 1, "init": "gradient"}}
    whole = server.drawn(**fields)
    events = server.resume(server.paused_at(pause, **fields))
    assert same(events, whole)
    assert curve_of(events) == curve_of(whole)


def test_a_gradient_goes_from_one_colour_to_another(cache: ModelCache) -> None:
    with cache.lease("embedded/vqgan") as vqgan:
        def seen(seed: int) -> torch.Tensor:
            pixels: list[torch.Tensor] = []
            own = vqgan.encode_latents
            object.__setattr__(vqgan, "encode_latents",
                               lambda given: pixels.append(given) or own(given))
            try:
                start_parameters(VQGANDrawer(vqgan), "gradient", None, (32, 64),
                                 [torch.Generator().manual_seed(seed)])
            finally:
                object.__delattr__(vqgan, "encode_latents")
            return pixels[0]

        for seed in range(4):
            picture = seen(seed)
            assert picture.shape == (1, 3, 32, 64)
            assert picture.abs().max() <= 1
            across, down = picture.diff(dim=3), picture.diff(dim=2)
            for steps in (across, down):  # in a straight line, whatever its direction
                same_step = steps[:, :, :1, :1].expand_as(steps)
                torch.testing.assert_close(steps, same_step, atol=1e-5, rtol=0)
            assert across.abs().max() + down.abs().max() > 1e-3
        assert not torch.equal(seen(0), seen(1))


def test_random_pixels_are_spread_evenly_and_belong_to_the_seed() -> None:
    drawer = PixelDrawer(1, 2, torch.device("cpu"))  # whose parameters are the pixels
    first, again, other = (
        start_parameters(drawer, "pixels", None, (64, 96), [torch.Generator().manual_seed(seed)])
        for seed in (0, 0, 1))
    assert first.shape == (1, 3, 64, 96)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # The standard error of the mean of 18,432 values of variance 1/3 is 0.0043.
    assert abs(float(first.mean())) < 0.02
    assert abs(float(first.var()) - 1 / 3) < 0.02
    assert -1 <= float(first.min()) < -0.99
    assert 0.99 < float(first.max()) <= 1


def test_noise_on_the_init_image_makes_starts_differ(cache: ModelCache) -> None:
    image = np.full((32, 32, 3), 200, np.uint8)

    def start(seed: int, amount: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        with cache.lease("embedded/vqgan") as vqgan:
            found = start_parameters(VQGANDrawer(vqgan), "plain", image, (32, 32), [generator],
                                     amount)
        unused = torch.Generator().manual_seed(seed)
        assert torch.equal(generator.get_state(), unused.get_state()) == (amount == 0)
        return found

    assert torch.equal(start(1, 0.0), start(2, 0.0))
    assert not torch.equal(start(1, 0.3), start(2, 0.3))
    near, far = ((start(1, amount) - start(1, 0.0)).abs().mean() for amount in (0.1, 0.9))
    assert 0 < near < far
