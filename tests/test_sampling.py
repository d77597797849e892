"""Tokens: what is kept, how often each is drawn, and rows that do not know of one another."""

from __future__ import annotations

import torch

from pipelines.sampling import RowNoise, choose, guide, truncate

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])


def kept(logits: torch.Tensor) -> list[int]:
    return torch.isfinite(logits)[0].nonzero().flatten().tolist()


def test_top_k_and_top_p() -> None:
    assert kept(truncate(LOGITS, 0, 1.0)) == [0, 1, 2, 3]
    assert kept(truncate(LOGITS, 2, 1.0)) == [0, 1]
    assert kept(truncate(LOGITS, 9, 1.0)) == [0, 1, 2, 3]
    # Shares are 0.64, 0.24, 0.09, 0.03.
    assert kept(truncate(LOGITS, 0, 0.7)) == [0, 1]
    assert kept(truncate(LOGITS, 0, 0.6)) == [0]
    assert kept(truncate(LOGITS, 0, 0.01)) == [0]
    assert kept(truncate(LOGITS.flip(1), 0, 0.7)) == [2, 3]


def test_tokens_are_drawn_as_often_as_likely() -> None:
    noise = RowNoise(range(4000)).draw(4)
    tokens = choose(LOGITS.expand(4000, 4), noise, 1.0, 0, 1.0)
    shares = tokens.bincount(minlength=4) / 4000
    torch.testing.assert_close(shares, LOGITS.softmax(-1)[0], atol=0.03, rtol=0)


def test_low_temperature_takes_the_likeliest() -> None:
    noise = RowNoise(range(200)).draw(4)
    assert (choose(LOGITS.expand(200, 4), noise, 0.1, 0, 1.0) == 0).float().mean() > 0.99


def test_noise_of_a_row_depends_on_its_seed_alone() -> None:
    together, alone = RowNoise([3, 4, 5]), RowNoise([4])
    for _ in range(3):
        assert torch.equal(together.draw(2, 7)[1], alone.draw(2, 7)[0])
    assert torch.isfinite(RowNoise([0]).draw(100_000)).all()


def test_guidance_of_one_is_the_condition_alone() -> None:
    with_text, without = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(guide(with_text, without, 1.0), with_text)
    torch.testing.assert_close(guide(with_text, without, 2.0), torch.tensor([1.5, 1.0]))
