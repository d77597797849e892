"""The camera of VQGAN+CLIP: how it moves, over a pause too, and what it does not go with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Preview
from pipelines.models.cache.cache import ModelCache
from pipelines.vqgan_clip.camera import Camera
from tests.paused_server import FEW, LIVELY, Server, cache, curve_of, images_of, same, server
from tests.test_request_pictures import masked
from tests.test_vqgan_clip import events_of, picture

__all__ = ["cache", "server"]
FLIGHT: dict[str, Any] = {"move_every": 2, "zoom": 1.2, "turn": 5, "shift_right": 0.1}


def ramps(height: int = 32, width: int = 48) -> torch.Tensor:
    """A picture whose red is the place across and whose green the place down, in [-0.5, 0.5]."""
    down, across = torch.meshgrid(torch.linspace(-0.5, 0.5, height),
                                  torch.linspace(-0.5, 0.5, width), indexing="ij")
    return torch.stack([across, down, torch.zeros_like(down)])[None]


def middle(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[..., 12:20, 18:30]


def test_a_camera_that_does_nothing_changes_nothing() -> None:
    torch.testing.assert_close(Camera(1).seen(ramps()), ramps(), atol=1e-5, rtol=0)


def test_zoom_shift_and_turn_are_what_they_say() -> None:
    start = middle(ramps())
    assert torch.allclose(middle(Camera(1, zoom=2.0).seen(ramps())), start / 2, atol=0.02)
    right = middle(Camera(1, right=0.25).seen(ramps()))
    assert torch.allclose(right[:, 0], start[:, 0] - 0.25, atol=0.02)
    assert torch.allclose(right[:, 1], start[:, 1], atol=0.02)
    down = middle(Camera(1, down=0.25).seen(ramps()))
    assert torch.allclose(down[:, 1], start[:, 1] - 0.25, atol=0.02)
    # A quarter turn clockwise: what was on the left is on top.
    turned = Camera(1, turn=90).seen(ramps(32, 32))[..., 8:24, 8:24]
    before = ramps(32, 32)[..., 8:24, 8:24]
    assert torch.allclose(turned[:, 0], before[:, 1], atol=0.02)
    assert torch.allclose(turned[:, 1], -before[:, 0], atol=0.02)


def test_what_is_turned_keeps_its_shape() -> None:
    disc = ((torch.linspace(-1, 1, 32)[:, None] * 32).square()
            + (torch.linspace(-1, 1, 64) * 64).square() < 20**2).float().expand(1, 3, 32, 64)
    turned = Camera(1, turn=90).seen(disc * 2 - 1) > 0
    # Further out its mirror images come in.
    assert (turned != (disc > 0.5))[..., 16:48].float().mean() < 0.02


def test_moves_come_once_and_not_before_the_first_step() -> None:
    camera = Camera(2, zoom=1.1)
    assert [step for step in range(1, 8) if camera.moves(step)] == [3, 5, 7]
    assert not camera.moves(7), "a step that is taken anew"
    later = Camera(2, zoom=1.1)
    later.restore(camera.state())
    assert not later.moves(7)
    assert later.moves(9)
    later.restore({})  # of a run that knew no camera
    assert not any(map(Camera(0, zoom=1.1).moves, range(1, 9)))


def test_a_flight_is_seen(cache: ModelCache) -> None:
    def previews(**options: Any) -> dict[int, np.ndarray]:
        events = events_of(cache, options={"iterations": 4, "preview_every": 100,
                                           "step_size": 0.001, **options}, init_image=picture_of())
        return {e.step: e.images[0] for e in events if isinstance(e, Preview)}

    flight = previews(move_every=2, shift_right=0.5)
    assert list(flight) == [1, 3], "a preview of every move"
    assert not np.array_equal(flight[1], flight[3])
    assert list(previews()) == [1]


def picture_of() -> bytes:
    return masked(mode="RGB", left=(200, 0, 0), right=(0, 0, 200))


def test_others_change_nothing_of_a_candidates_flight(server: Server) -> None:
    options = LIVELY | FLIGHT | {"init": "noise"}
    both = images_of(server.drawn(num_images=2, options=options))
    alone = [images_of(server.drawn(seed=seed, options=options))[0] for seed in (5, 6)]
    assert {image.tobytes() for image in both} == {image.tobytes() for image in alone}


@pytest.mark.parametrize("pause", [2, 3])
def test_a_pause_keeps_the_camera_where_it_is(server: Server, pause: int) -> None:
    options = LIVELY | FLIGHT | {"optimiser": "adam", "init": "noise"}
    whole = server.drawn(options=options)
    events = server.resume(server.paused_at(pause, options=options))
    assert same(events, whole)
    assert curve_of(events) == curve_of(whole)


@pytest.mark.parametrize(("fields", "says"), [
    ({"options": FEW | {"move_every": 2}}, r"^The camera has steps between its moves and no move: "
                                           r"set its zoom, shift or turn\.$"),
    ({"options": FEW | {"zoom": 1.1}}, r"^The camera has a move and no steps between its moves: "
                                       r"set them\.$"),
    ({"options": FEW | FLIGHT, "init_image": picture(), "mask": masked()},
     r"^A mask stands still, so the camera has to as well\.$"),
])
def test_a_camera_that_makes_no_sense(server: Server, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        server.drawn(**fields)
    assert caught.value.field == "move_every"
