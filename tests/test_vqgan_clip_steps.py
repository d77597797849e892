"""Parts of a step of VQGAN+CLIP: how far it goes, what it is held by, and how smooth it is."""

from __future__ import annotations

import pytest
import torch

from pipelines.vqgan_clip.descent import NormalisedDescent
from pipelines.vqgan_clip.drawer import clamp_with_gradient
from pipelines.vqgan_clip.terms import total_variation


def test_normalised_steps_keep_proportions_and_not_size() -> None:
    moved = torch.zeros(2, 1, 2, 2, requires_grad=True)
    gradient = torch.tensor([[0.0, 1.0], [-2.0, 3.0]])
    moved.grad = torch.stack([gradient[None], 1000 * gradient[None]])
    NormalisedDescent([moved], lr=0.1).step()
    assert torch.allclose(moved[0], moved[1])
    assert moved[0].square().mean().sqrt().item() == pytest.approx(0.1)
    assert torch.allclose(moved[0, 0], -moved[0, 0, 0, 1].abs() * gradient)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(3, 209, 314), (3, 166, 224), (256, 16, 24)])
def test_normalised_steps_do_not_depend_on_what_is_beside_them(shape: tuple[int, ...],
                                                               threads: int) -> None:
    torch.set_num_threads(threads)
    gradient = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))

    def moved(rows: torch.Tensor) -> torch.Tensor:
        parameters = torch.zeros_like(rows, requires_grad=True)
        parameters.grad = rows
        NormalisedDescent([parameters], lr=0.1).step()
        return parameters.detach()

    for count in (2, 3, 4):
        assert torch.equal(moved(gradient[:count])[:1], moved(gradient[:1]))


def test_clamped_values_are_led_back() -> None:
    x = torch.tensor([-2.0, -2.0, 0.0, 2.0, 2.0], requires_grad=True)
    one = torch.ones(())
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    clamp_with_gradient(x, -one, one).backward(gradient)
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_total_variation() -> None:
    assert total_variation(torch.full((1, 3, 8, 8), 0.3)).item() == 0
    stripes = ((torch.arange(8) % 2) * 2.0 - 1).expand(1, 3, 8, 8)
    assert total_variation(stripes).item() == pytest.approx(0.5)
