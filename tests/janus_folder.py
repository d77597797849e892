"""Janus in tiny with random weights, written by transformers in the published layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
)
from transformers import PreTrainedTokenizerFast as FastTokenizer

from pipelines.janus import JANUS
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.formats import loader
from tests.small_models import SmallLoader

PIECES = ("<pad>", "<bos>", "<eos>", "<unk>", "<begin_of_image>", "<end_of_image>",
          "<image_placeholder>", "<|User|>", "<|Assistant|>", ":", "a", "red", "apple")
GRID = 6  # image tokens along one side


def tokenizer() -> FastTokenizer:
    """One piece a word."""
    plain = Tokenizer(models.WordLevel({p: i for i, p in enumerate(PIECES)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return FastTokenizer(
        tokenizer_object=plain, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens={
            "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>",
            "image_token": "<image_placeholder>"})


def whole_model() -> JanusForConditionalGeneration:
    """All of Janus, the part that looks at pictures too."""
    side = 16 * GRID
    config = JanusConfig(
        text_config={"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
                     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
                     "vocab_size": len(PIECES), "pad_token_id": 0, "bos_token_id": 1,
                     "eos_token_id": 2, "max_position_embeddings": 256},
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": side, "patch_size": 16, "projection_dim": 64,
                       "num_image_tokens": GRID * GRID, "depth": 2},
        vq_config={"embed_dim": 8, "num_embeddings": 40, "latent_channels": 32,
                   "base_channels": 32, "channel_multiplier": [1, 1, 1, 1, 2],
                   "num_res_blocks": 1, "projection_dim": 64, "image_token_embed_dim": 64,
                   "num_patches": GRID, "num_hidden_layers": 2})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = JanusForConditionalGeneration(config).eval().requires_grad_(False)
        for name, parameter in model.named_parameters():  # choices that differ
            if "generation" in name and parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def write_janus(folder: Path) -> None:
    """Model, tokenizer and chat template, as transformers saves them."""
    whole_model().save_pretrained(folder)
    template = ("{% for message in messages %}<|User|> : {{ message['content'][0]['text'] }} "
                "{% endfor %}<|Assistant|> : ")
    JanusProcessor(JanusImageProcessor(), tokenizer(), chat_template=template,
                   num_image_tokens=GRID * GRID).save_pretrained(folder)


def entry() -> CatalogueEntry:
    """Of the folder, under the id of the published model."""
    return CatalogueEntry.model_validate({
        "id": JANUS, "title": "test Janus", "family": "janus", "loader": "janus",
        "licence": "MIT", "source": "made by a test",
        "files": (ModelFile(name="config.json"), ModelFile(name="model.safetensors"))})


class JanusLoader(SmallLoader):
    """Small models, Janus from its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        """Janus as its own loader reads it."""
        if model_id != JANUS:
            return super().load(model_id, device, dtype)
        model = loader("janus")(self.folder, entry())
        return model.to(device, dtype).eval().requires_grad_(False)
