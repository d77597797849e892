"""The embedded unCLIP: a prior over CLIP's image embeddings and a decoder conditioned on them.

Both are trained by flow matching: x_t = (1 - t) x_0 + t noise with t in (0, 1], and both predict
x_0, from which the velocity follows. The decoder works on the latents of the embedded VQGAN, four
of them (2 by 2) a cell, so that its U-Net sees 8 × 8 cells. It is conditioned on the caption by
cross-attention to the states of a small text encoder of its own, and the image embedding by four
more of such states, beside the time, and where it holds so many numbers for each of the cells, as
the guide's does (``training.patch_code``), cell by cell as further channels of its input.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
section 2; flow matching: Lipman et al., "Flow Matching for Generative Modeling" (2023), section 4;
predicting the clean picture: Salimans and Ho, "Progressive Distillation for Fast Sampling of
Diffusion Models" (2022), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ModelMixin, PriorTransformer, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from pipelines.models.transformer import Block

TIME_STEPS = 1000.0  # what diffusers' time embeddings expect for t = 1
PATCH = 2  # latents along one side of a cell
PAD_ID = 0


def position_channels(side: int) -> Tensor:
    """Where each cell is: (8, side, side) waves along rows and columns, in [-1, 1].

    A U-Net knows places only by the zeros around its convolutions, and learns them slowly.
    """
    at = (torch.arange(side) + 0.5) / side * torch.pi
    waves = torch.stack([at.cos(), at.sin() * 2 - 1, (2 * at).cos(), (2 * at).sin()])
    rows = waves[:, :, None].expand(-1, side, side)
    return torch.cat([rows, rows.transpose(1, 2)])


class CaptionEncoder(ModelMixin, ConfigMixin):
    """Caption and image embedding to the states that the U-Net attends to.

    Args:
        vocab_size: token ids.
        text_length: most tokens of a caption.
        dim: width of the states.
        depth: transformer blocks.
        heads: attention heads.
        image_dim: width of the image embedding.
        image_tokens: states that an image embedding becomes.
    """

    @register_to_config
    def __init__(self, vocab_size: int = 3072, text_length: int = 32, dim: int = 192,
                 depth: int = 2, heads: int = 3, image_dim: int = 192,
                 image_tokens: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.position = nn.Parameter(torch.zeros(text_length, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(dim)
        self.image_in = nn.Linear(image_dim, image_tokens * dim)
        self.image_tokens = image_tokens
        # Of the CLIP's image embeddings of scenes: all of them point much the same way.
        self.register_buffer("image_mean", torch.zeros(image_dim))
        self.register_buffer("image_std", torch.ones(image_dim))

    def initialise(self) -> None:
        """Initialise for training; nothing of the image embedding comes through at first."""
        for name, p in self.named_parameters():
            if p.ndim >= 2:
                nn.init.normal_(p, std=0.02)
            if name.endswith(("attn.proj.weight", "mlp.down.weight")):
                nn.init.normal_(p, std=0.005)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def standardise(self, image_embeds: Tensor) -> Tensor:
        """Unit-length image embeddings (B, D) to mean 0 and variance 1 over scenes."""
        return (image_embeds - self.image_mean) / self.image_std

    def forward(self, ids: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """States and which of them may be attended to.

        Args:
            ids: (B, T) int64; id 0 is padding.
            image: (B, D) standardised image embeddings; a row of zeros for none.

        Returns:
            (B, T + image_tokens, dim) and (B, T + image_tokens) bool.
        """
        visible = ids != PAD_ID
        x = self.embedding(ids) + self.position[: ids.shape[1]].to(self.embedding.weight.dtype)
        for block in self.blocks:
            x = block(x, visible[:, None, None, :])
        condition = self.image_in(image).unflatten(-1, (self.image_tokens, -1))
        has_image = (image != 0).any(-1, keepdim=True).expand(-1, self.image_tokens)
        return (torch.cat([self.norm(x), condition.to(x.dtype)], dim=1),
                torch.cat([visible, has_image], dim=1))


class UnclipDecoder(nn.Module):
    """The U-Net with its caption encoder.

    Args:
        unet: sees 4 · channels of latents, the position channels, and where it has room for them,
            the image embedding's numbers of each cell.
        caption_encoder: makes its encoder hidden states.
    """

    def __init__(self, unet: UNet2DConditionModel, caption_encoder: CaptionEncoder) -> None:
        super().__init__()
        self.unet, self.caption_encoder = unet, caption_encoder
        # SHA-256 of the CLIP whose image embeddings it knows; None where that is not known.
        self.clip_sha256: str | None = None
        self.cells = int(cast(Any, unet.config).sample_size)
        self.channels = int(cast(Any, unet.config).out_channels) // PATCH**2
        places = position_channels(self.cells)
        self.register_buffer("places", places, persistent=False)
        extra = int(cast(Any, unet.config).in_channels) - PATCH**2 * self.channels - len(places)
        self.conditioned_by_cell = extra > 0

    @property
    def text_length(self) -> int:
        """Most tokens of a caption."""
        return int(cast(Any, self.caption_encoder.config).text_length)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the latents."""
        return self.channels, PATCH * self.cells, PATCH * self.cells

    def condition(self, ids: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What ``predict`` needs to know of rows: states, their mask, and the image embeddings.

        Args:
            ids: (B, T) int64, T up to ``text_length``.
            image: (B, D) standardised image embeddings; a row of zeros for none.
        """
        states, visible = self.caption_encoder(ids, image)
        return states, visible, image

    def predict(self, latents: Tensor, t: Tensor, condition: tuple[Tensor, Tensor, Tensor]
                ) -> Tensor:
        """The clean latents behind noisy ones.

        Args:
            latents: (B, channels, grid, grid), x_t.
            t: (B,) in (0, 1].
            condition: from ``condition``.

        Returns:
            (B, channels, grid, grid), about [-1, 1].
        """
        states, visible, image = condition
        cells = F.pixel_unshuffle(latents, PATCH)
        places = cast(Tensor, self.places).to(cells.dtype).expand(len(cells), -1, -1, -1)
        seen = [cells, places]
        if self.conditioned_by_cell:
            by_cell = image.unflatten(1, (self.cells, self.cells, -1)).permute(0, 3, 1, 2)
            seen.append(by_cell.to(cells.dtype))
        sample = self.unet(torch.cat(seen, dim=1), t * TIME_STEPS, states,
                           class_labels=image, encoder_attention_mask=visible,
                           return_dict=False)[0]
        return F.pixel_shuffle(sample, PATCH)

    def forward(self, latents: Tensor, t: Tensor, ids: Tensor, image: Tensor) -> Tensor:
        """``condition`` and ``predict`` in one."""
        return self.predict(latents, t, self.condition(ids, image))


class UnclipPrior(nn.Module):
    """Caption to image embedding, in the space of one CLIP, whose embedding is a row of cells.

    Args:
        transformer: diffusers' prior, with one state for each cell (``num_embeddings``) beside the
            tokens' and the time's (``additional_embeddings``). It sees the numbers of a cell twice:
            noisy, and as the caption's own embedding has them.

    Source: Ramesh et al. (2022), section 2.2; many states instead of one: Jun and Nichol, "Shap-E:
    Generating Conditional 3D Implicit Functions" (2023), section 4.2.
    """

    def __init__(self, transformer: PriorTransformer) -> None:
        super().__init__()
        self.transformer = transformer
        # SHA-256 of the CLIP that it was trained with; None where that is not known.
        self.clip_sha256: str | None = None
        config = cast(Any, transformer.config)
        self.cells, self.numbers = int(config.num_embeddings), int(config.clip_embed_dim)

    @property
    def image_dim(self) -> int:
        """Width of the image embedding."""
        return self.cells * self.numbers

    @property
    def text_length(self) -> int:
        """States of tokens that it sees."""
        return int(cast(Any, self.transformer.config).additional_embeddings) - 1

    def standardise(self, image_embeds: Tensor) -> Tensor:
        """Unit-length image embeddings (B, D) to mean 0 and variance 1 over scenes."""
        cells = image_embeds.unflatten(1, (self.cells, self.numbers))
        return ((cells - self.transformer.clip_mean) / self.transformer.clip_std).flatten(1)

    def unit(self, standardised: Tensor) -> Tensor:
        """Inverse of ``standardise``, at unit length."""
        cells = standardised.unflatten(1, (self.cells, self.numbers))
        return F.normalize(self.transformer.post_process_latents(cells).flatten(1).float(), dim=-1)

    def predict(self, embeds: Tensor, t: Tensor,
                condition: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The clean standardised embeddings (B, D) behind noisy ones (B, D) at times t (B,).

        ``condition`` is what ``text_condition`` returns, of ``text_length`` tokens.
        """
        text_embeds, states, visible = condition
        seen = [x.unflatten(1, (self.cells, self.numbers))
                for x in (embeds, self.standardise(text_embeds).to(embeds.dtype))]
        clean = self.transformer(torch.cat(seen, dim=-1), t * TIME_STEPS,
                                 states * visible[..., None], return_dict=False)[0]
        return clean.flatten(1)

    def forward(self, embeds: Tensor, t: Tensor, text_embeds: Tensor, states: Tensor,
                visible: Tensor) -> Tensor:
        """``predict`` with the condition spelt out."""
        return self.predict(embeds, t, (text_embeds, states, visible))


def build_decoder(config: Mapping[str, Any]) -> UnclipDecoder:
    """An untrained decoder from ``{"unet": …, "caption_encoder": …}``."""
    # No mid block unless one is named: TOML has no word for none.
    shape = {"mid_block_type": None, **config["unet"]}
    unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(shape))
    encoder = cast(CaptionEncoder, CaptionEncoder.from_config(dict(config["caption_encoder"])))
    return UnclipDecoder(unet, encoder)


def build_prior(config: Mapping[str, Any]) -> UnclipPrior:
    """An untrained prior from the arguments of ``PriorTransformer``."""
    # The states of tokens go in with the features. TOML has no word for none.
    shape = {"added_emb_type": None, "encoder_hid_proj_type": None, **config}
    return UnclipPrior(cast(PriorTransformer, PriorTransformer.from_config(shape)))
