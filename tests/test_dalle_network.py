"""The DALL·E transformer: its cached steps agree with teacher forcing, and it can learn."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pipelines.models.dalle import ImageTransformer, TransformerConfig

TINY = TransformerConfig(
    text_vocab_size=40,
    text_length=8,
    codebook_size=10,
    digits=2,
    grid=4,
    patch=2,
    dim=32,
    depth=2,
    heads=2,
    code_dim=16,
    head_dim=32,
)


def tiny_model(seed: int = 0) -> ImageTransformer:
    torch.manual_seed(seed)
    model = ImageTransformer(TINY)
    model.initialise()
    torch.nn.init.normal_(
        model.row_position, std=0.5
    )  # positions must matter for the test to see them
    return model.eval()


def random_batch(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (count, 8), generator=generator)
    ids[0, 5:] = 0
    return ids, torch.randint(0, 100, (count, 4, 4), generator=generator)


def test_blocks_and_grid_are_inverse():
    model = tiny_model()
    _, codes = random_batch()
    blocks = model.to_blocks(codes)
    assert blocks.shape == (3, 4, 8)
    assert blocks.max() < 10
    assert torch.equal(model.to_grid(blocks), codes)
    assert blocks[0, 0, :2].tolist() == [codes[0, 0, 0] // 10, codes[0, 0, 0] % 10]


@torch.no_grad()
def test_cached_steps_equal_teacher_forcing():
    model = tiny_model()
    ids, codes = random_batch()
    expected = model(ids, codes).codes
    blocks = model.to_blocks(codes)
    cache = model.new_cache(len(ids), "cpu", torch.float32)
    hidden = model.prefill(ids, cache)
    for step in range(model.num_steps):
        seen: list[torch.Tensor] = []

        def choose(logits, step=step, seen=seen):
            seen.append(logits)
            return blocks[:, step, len(seen) - 1]

        tokens = model.sample_block(hidden, choose)
        assert torch.equal(tokens, blocks[:, step])
        torch.testing.assert_close(torch.stack(seen, 1), expected[:, step], atol=1e-4, rtol=1e-4)
        if step + 1 < model.num_steps:
            hidden = model.step(tokens, cache)


@torch.no_grad()
def test_padding_and_the_future_do_not_matter():
    model = tiny_model()
    ids, codes = random_batch()
    full = model(ids, codes).codes
    torch.testing.assert_close(model(ids[:1, :5], codes[:1]).codes, full[:1], atol=1e-5, rtol=1e-5)
    changed = codes.clone()
    changed[:, 2, 2] = (changed[:, 2, 2] + 10) % 100  # the first code of the last block
    after = model(ids, changed).codes
    torch.testing.assert_close(after[:, :3], full[:, :3])
    assert not torch.allclose(after[:, 3], full[:, 3])


def test_overfits_one_batch():
    torch.manual_seed(0)
    model = ImageTransformer(TINY)
    model.initialise()
    ids, codes = random_batch()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    target = model.to_blocks(codes).flatten()
    loss = torch.tensor(torch.inf)
    for _ in range(150):
        loss = F.cross_entropy(model(ids, codes).codes.flatten(0, 2), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    cache = model.eval().new_cache(len(ids), "cpu", torch.float32)
    with torch.no_grad():
        hidden, blocks = model.prefill(ids, cache), []
        for step in range(model.num_steps):
            blocks.append(model.sample_block(hidden, lambda logits: logits.argmax(-1)))
            if step + 1 < model.num_steps:
                hidden = model.step(blocks[-1], cache)
    assert torch.equal(model.to_grid(torch.stack(blocks, 1)), codes)
