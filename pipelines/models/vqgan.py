"""VQGAN on taming-transformers' encoder and decoder, for embedded and public checkpoints alike.

Source: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021),
section 3.1; codes on a fixed grid: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made
Simple" (2023), section 3; codes compared by angle: Yu et al., "Vector-quantized Image Modeling
with Improved VQGAN" (2022), section 3.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from taming.modules.diffusionmodules.model import Decoder, Encoder
from torch import Tensor, nn

from pipelines.models.patch_codec import PatchDecoder, PatchEncoder

PATCH_DOWNSAMPLING = 16  # of the networks of ``patch_codec``


@dataclass(frozen=True)
class VQGANConfig:
    """Shape of a VQGAN.

    Attributes:
        resolution: side in px of the pictures it was trained on.
        patch_size: pictures are folded into patches of this side before the encoder and unfolded
            after the decoder; 1 is the published architecture, more is cheaper per pixel.
        l2_normalised: compare latents and codes by angle instead of by distance.
        levels: with finite scalar quantisation, how many values each latent channel takes; the
            codes are then all combinations, evenly spaced in [-1, 1], and are not learned.
        gumbel: the encoder scores every code at each place, as in a discrete VAE, instead of
            giving a latent that the nearest code replaces.
        encoder: whether it can read pictures; some published files only draw.
        patch_widths, patch_depths: with the networks of ``patch_codec`` instead of the published
            ones, their channels and blocks at strides 4, 8 and 16; ``ch``, ``ch_mult``,
            ``num_res_blocks`` and ``attn_resolutions`` then mean nothing.
        channels: of pictures, with the networks of ``patch_codec``: 3, or 4 where they are layers,
            with premultiplied colours and how far each pixel covers what is behind it.
        The others are named as in the published configurations.
    """

    resolution: int = 256
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    z_channels: int = 256
    embed_dim: int = 256
    n_embed: int = 1024
    patch_size: int = 1
    l2_normalised: bool = False
    levels: tuple[int, ...] | None = None
    gumbel: bool = False
    encoder: bool = True
    patch_widths: tuple[int, int, int] | None = None
    patch_depths: tuple[int, int, int] = (2, 2, 3)
    channels: int = 3


class Codebook(nn.Module):
    """The discrete codes; its parameters are named as in published checkpoints."""

    def __init__(self, n_embed: int, embed_dim: int, gumbel: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        if gumbel:
            self.proj = nn.Conv2d(embed_dim, n_embed, 1)


def grid_codes(levels: Sequence[int]) -> Tensor:
    """The codes of finite scalar quantisation, (product of levels, len(levels)) in [-1, 1]."""
    return torch.cartesian_prod(*(torch.linspace(-1, 1, count) for count in levels))


class VQGAN(nn.Module):
    """Pictures to a grid of discrete codes and back."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = _networks(config)
        if encoder is not None:
            self.encoder = encoder
        self.decoder = decoder
        if not config.levels:
            self.quantizer = Codebook(config.n_embed, config.embed_dim, config.gumbel)
        if config.encoder:
            self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @property
    def downsampling(self) -> int:
        """Pixels along one side that share a code."""
        if self.config.patch_widths:
            return PATCH_DOWNSAMPLING
        return self.config.patch_size * 2 ** (len(self.config.ch_mult) - 1)

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return prod(self.config.levels) if self.config.levels else self.config.n_embed

    @property
    def width(self) -> int:
        """Width of a code."""
        return self.config.embed_dim

    @property
    def codebook(self) -> Tensor:
        """The codes, (n_embed, embed_dim), as the decoder sees them."""
        if self.config.levels:
            return grid_codes(self.config.levels).to(self.post_quant_conv.weight)
        codes = self.quantizer.embedding.weight
        return F.normalize(codes, dim=-1) if self.config.l2_normalised else codes

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes (B, embed_dim, h, w) of codebook indices (B, h, w)."""
        if not self.config.levels:
            return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)
        channels = []
        for count in reversed(self.config.levels):
            channels.append(indices % count * (2 / (count - 1)) - 1)
            indices = indices // count
        return torch.stack(channels[::-1], dim=1).to(self.post_quant_conv.weight.dtype)

    def encode_latents(self, pixels: Tensor) -> Tensor:
        """Encode pictures without quantising; not without an encoder.

        Args:
            pixels: (B, 3, H, W) in [-1, 1]; H and W multiples of ``downsampling``.

        Returns:
            (B, embed_dim, H / downsampling, W / downsampling); in (-1, 1) with ``levels``. With
            ``gumbel`` the codes that the encoder scores highest.
        """
        if self.config.patch_size > 1:
            pixels = F.pixel_unshuffle(pixels, self.config.patch_size)
        latents = self.quant_conv(self.encoder(pixels))
        if self.config.gumbel:
            return self.lookup(self.quantizer.proj(latents).argmax(dim=1))
        return latents.tanh() if self.config.levels else latents

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Replace each latent by its nearest code, with a straight-through gradient.

        Args:
            latents: (B, embed_dim, h, w).

        Returns:
            Quantised latents (B, embed_dim, h, w), whose gradient is passed to ``latents``
            unchanged, and codebook indices (B, h, w) int64.
        """
        if self.config.l2_normalised:
            latents = F.normalize(latents, dim=1)
        indices = self.nearest(latents)
        quantised = self.lookup(indices).to(latents.dtype)
        return latents + (quantised - latents).detach(), indices

    def nearest(self, latents: Tensor) -> Tensor:
        """Indices (B, h, w) of the codes nearest to latents (B, embed_dim, h, w)."""
        if self.config.levels:
            indices = torch.zeros_like(latents[:, 0], dtype=torch.int64)
            for channel, count in zip(latents.detach().unbind(1), self.config.levels, strict=True):
                nearest = ((channel.float().clamp(-1, 1) + 1) / 2 * (count - 1)).round().long()
                indices = indices * count + nearest
            return indices
        with torch.autocast(latents.device.type, enabled=False):
            flat = latents.detach().float().permute(0, 2, 3, 1)
            codes = self.codebook.detach().float()
            if self.config.l2_normalised:
                return (flat @ codes.t()).argmax(-1)
            return (codes.pow(2).sum(-1) - 2 * flat @ codes.t()).argmin(-1)

    def encode(self, pixels: Tensor) -> Tensor:
        """Codebook indices (B, h, w) int64 of pictures (B, 3, H, W) in [-1, 1]."""
        return self.quantize(self.encode_latents(pixels))[1]

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about [-1, 1] and not clamped, of latents (B, embed_dim, h, w)."""
        pixels = self.decoder(self.post_quant_conv(latents))
        if self.config.patch_size > 1:
            pixels = F.pixel_shuffle(pixels, self.config.patch_size)
        return pixels

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) of codebook indices (B, h, w)."""
        return self.decode(self.lookup(indices).to(self.post_quant_conv.weight.dtype))


def _networks(config: VQGANConfig) -> tuple[nn.Module | None, nn.Module]:
    """Encoder, where a configuration has one, and decoder."""
    if config.patch_widths:
        widths = config.patch_widths, config.patch_depths, config.z_channels, config.channels
        return PatchEncoder(*widths) if config.encoder else None, PatchDecoder(*widths)
    p = config.patch_size
    shape: dict[str, Any] = {
        "ch": config.ch,
        "out_ch": 3 * p * p,
        "ch_mult": tuple(config.ch_mult),
        "num_res_blocks": config.num_res_blocks,
        "attn_resolutions": tuple(config.attn_resolutions),
        "in_channels": 3 * p * p,
        "resolution": config.resolution // p,
        "z_channels": config.z_channels,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # the constructor of Decoder prints
        encoder = Encoder(double_z=False, **shape) if config.encoder else None
        return encoder, Decoder(**shape)


def build(config: Mapping[str, Any]) -> VQGAN:
    """Build an untrained VQGAN from the fields of ``VQGANConfig``."""
    return VQGAN(VQGANConfig(**config))


def config_dict(config: VQGANConfig) -> dict[str, Any]:
    """The configuration as plain data for ``config.json``."""
    return asdict(config)
