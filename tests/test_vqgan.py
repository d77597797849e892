"""The VQGAN class: quantisers, straight-through gradients, published shapes."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.vqgan import VQGAN, VQGANConfig, build, config_dict, grid_codes

SMALL = {
    "resolution": 32,
    "ch": 32,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (),
    "z_channels": 32,
}
GRID = VQGANConfig(**SMALL, embed_dim=3, n_embed=60, levels=(5, 4, 3), patch_size=2)
LEARNED = VQGANConfig(**SMALL, embed_dim=8, n_embed=64)
ANGLE = VQGANConfig(**SMALL, embed_dim=8, n_embed=64, l2_normalised=True)


@pytest.mark.parametrize("config", [GRID, LEARNED, ANGLE])
def test_codes_are_fixed_points_of_quantisation(config):
    torch.manual_seed(0)
    model = VQGAN(config).eval()
    indices = torch.randint(0, config.n_embed, (2, 4, 4))
    codes = model.lookup(indices)
    torch.testing.assert_close(codes.permute(0, 2, 3, 1), model.codebook[indices])
    quantised, found = model.quantize(codes)
    assert torch.equal(found, indices)
    torch.testing.assert_close(quantised, codes)


@pytest.mark.parametrize("config", [GRID, LEARNED, ANGLE])
def test_nearest_agrees_with_brute_force(config):
    torch.manual_seed(0)
    model = VQGAN(config).eval()
    latents = torch.randn(1, config.embed_dim, 4, 4) * 0.7
    if config.l2_normalised:
        latents = torch.nn.functional.normalize(latents, dim=1)
    flat = latents.permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.equal(
        model.nearest(latents).flatten(), torch.cdist(flat, model.codebook).argmin(1)
    )


def test_gradient_passes_straight_through():
    torch.manual_seed(0)
    model = VQGAN(GRID)
    latents = torch.rand(1, 3, 4, 4, requires_grad=True)
    quantised, _ = model.quantize(latents)
    (quantised * torch.arange(48.0).view(1, 3, 4, 4)).sum().backward()
    assert latents.grad is not None
    assert torch.equal(latents.grad, torch.arange(48.0).view(1, 3, 4, 4))


@pytest.mark.parametrize("config", [GRID, LEARNED])
def test_shapes_and_range(config):
    torch.manual_seed(0)
    model = VQGAN(config).eval()
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    indices = model.encode(pixels)
    assert indices.shape == (2, 32 // model.downsampling, 48 // model.downsampling)
    assert model.decode_indices(indices).shape == pixels.shape
    if config.levels:
        assert model.encode_latents(pixels).abs().max() < 1


def test_grid_codes_enumerate_all_combinations():
    codes = grid_codes((3, 2))
    assert codes.tolist() == [[-1, -1], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 1]]


def test_build_round_trip():
    model = build(config_dict(GRID))
    assert model.config == GRID


def test_public_layout_matches_the_published_names():
    names = set(VQGAN(LEARNED).state_dict())
    assert {
        "encoder.conv_in.weight",
        "decoder.conv_out.weight",
        "quant_conv.weight",
        "post_quant_conv.weight",
        "quantizer.embedding.weight",
    } <= names
