"""Every embedded model in small, with random weights, behind a real cache."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from pipelines.models import clip, minilm, patch_discriminator, upscaler, vqgan
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import ClipModel
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.familiarity import Familiarity
from pipelines.models.minilm import SentenceEncoder
from pipelines.world import plans

GRID = vqgan.VQGANConfig(resolution=32, ch=32, ch_mult=(1, 2), num_res_blocks=1,
                         attn_resolutions=(), z_channels=32, embed_dim=3, n_embed=125,
                         levels=(5, 5, 5), patch_size=2)
LEARNED = vqgan.VQGANConfig(resolution=32, ch=32, ch_mult=(1, 2), num_res_blocks=1,
                            attn_resolutions=(), z_channels=32, embed_dim=4, n_embed=64,
                            patch_size=2)
LAYERS = vqgan.VQGANConfig(resolution=128, patch_widths=(8, 8, 16), patch_depths=(1, 1, 1),
                           z_channels=8, embed_dim=3, n_embed=125, levels=(5, 5, 5), channels=4)
TRANSFORMER = TransformerConfig(text_vocab_size=30522, text_length=40, text_dim=8, sentence_dim=32,
                                plan_length=plans.TOKENS, plan_vocab_size=plans.VOCABULARY_SIZE,
                                layers=1 + plans.MOST_THINGS, codebook_size=12, digits=2, grid=8,
                                patch=2, dim=32, depth=2, heads=2, code_dim=16, head_dim=32)
SENTENCES = {"hidden_size": 32, "vocab_size": 30522, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 256}
WORD_PIECES = Path(__file__).parents[1] / "assets" / "weights" / "minilm" / "tokenizer.json"

UNCLIP_DECODER = {
    "unet": {"sample_size": 4, "in_channels": 22, "out_channels": 12, "block_out_channels": [32],
             "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"],
             "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 32,
             "use_linear_projection": True, "class_embed_type": "projection",
             "projection_class_embeddings_input_dim": 32,
             "resnet_time_scale_shift": "scale_shift"},
    "caption_encoder": {"dim": 32, "depth": 1, "heads": 2, "image_dim": 32, "image_tokens": 2}}
UNCLIP_PRIOR = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1,
                "num_embeddings": 16, "additional_embeddings": 33, "embedding_dim": 4,
                "clip_embed_dim": 2, "embedding_proj_dim": 32}


def clip_config(width: int) -> dict:
    return {"embed_dim": 32, "init_logit_bias": -10.0,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": width, "head_width": 16,
                           "patch_size": 8, "pool_type": "avg"},
            "text_cfg": {"context_length": 32, "vocab_size": 3072, "width": 32, "heads": 2,
                         "layers": 1, "pool_type": "eos", "eos_id": 2, "pad_id": 0,
                         "no_causal_mask": True}}


class SmallLoader:
    """Builds the models of the catalogue in small.

    Args:
        codes: configuration of the VQGAN.
    """

    def __init__(self, codes: vqgan.VQGANConfig = GRID) -> None:
        self.codes = codes

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The same random weights every time, without touching the global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(model_id))
            model = self._build(model_id.removeprefix("embedded/"))
        return model.to(device, dtype).requires_grad_(False).eval()

    def _build(self, name: str) -> nn.Module:
        if name == "dalle":
            transformer = ImageTransformer(TRANSFORMER)
            transformer.initialise()
            nn.init.normal_(transformer.head.weight, std=1.0)  # choices that differ
            nn.init.normal_(transformer.text_position, std=0.5)
            transformer.text, transformer.vqgan = self._build("minilm"), self._build("layer-vqgan")
            return transformer
        if name == "minilm":
            return SentenceEncoder(minilm.build(SENTENCES), Tokenizer.from_file(str(WORD_PIECES)))
        if name == "layer-vqgan":
            return vqgan.VQGAN(LAYERS)
        if name == "vqgan":
            return vqgan.VQGAN(self.codes)
        if name == "upscaler":
            return upscaler.Upscaler(upscaler.UpscalerConfig(channels=8, blocks=1))
        if name == "discriminator":
            config = patch_discriminator.DiscriminatorConfig(self.codes.resolution, 8, right=0.75)
            return patch_discriminator.PatchDiscriminator(config)
        if name.startswith("unclip"):  # whose diffusers takes seconds to import
            return self._build_unclip(name)
        if name == "familiarity":  # to which every picture is like the world's
            model = Familiarity(2, -1.0)
            model.image = EfficientNet()
            nn.init.normal_(model.known)
            return model
        config = clip_config(48 if name == "clip-guide" else 32)
        return ClipModel(clip.build(config), load_vocabulary(), clip.image_size(config))

    def _build_unclip(self, name: str) -> nn.Module:
        from pipelines.models import unclip

        if name == "unclip-decoder":
            return unclip.build_decoder(UNCLIP_DECODER)
        prior = unclip.build_prior(UNCLIP_PRIOR)
        for parameter in prior.transformer.parameters():
            if parameter.ndim == 2:
                # Captions make a difference, and yet rounding does not grow from step to step.
                nn.init.normal_(parameter, std=0.3)
        nn.init.zeros_(prior.transformer.clip_mean)
        nn.init.ones_(prior.transformer.clip_std)
        return prior

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Not known."""
        return 0

    def title(self, model_id: str) -> str:
        """The id itself."""
        return model_id

    def fingerprint(self, model_id: str) -> str | None:
        """None: there is no file."""
        return None


def small_cache(codes: vqgan.VQGANConfig = GRID) -> ModelCache:
    """A cache of small models on the CPU."""
    return ModelCache(SmallLoader(codes), "cpu")
