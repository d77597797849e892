"""FLUX.2 [klein] in tiny with random weights, written by diffusers in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers import pre_tokenizers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

WIDTH = 16
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
            "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
            "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}")


def tokenizer_of_bytes() -> Qwen2Tokenizer:
    """A tokenizer of the published kind without merges: one token a byte."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(
        vocab={piece: i for i, piece in enumerate([*pieces, *SPECIAL])}, merges=[],
        unk_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[0],
        additional_special_tokens=[SPECIAL[1]])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write_flux2(folder: Path) -> Path:
    """The repository's folder, the language model in shards, its head beside it."""
    tokenizer = tokenizer_of_bytes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = Qwen3ForCausalLM(Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=24,
            num_hidden_layers=30, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
            tie_word_embeddings=False))
        transformer = Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=3 * WIDTH, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False)
        vae = AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4,
            norm_num_groups=4)
        # Of pictures that it was trained on; random ones are all alike.
        mean, variance = vae.bn.running_mean, vae.bn.running_var
        assert mean is not None
        assert variance is not None
        mean.normal_()
        variance.uniform_(0.5, 2.0)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    Flux2KleinPipeline(scheduler, vae.eval(), reader.eval(), tokenizer, transformer.eval(),
                       is_distilled=True).save_pretrained(folder)
    # The library writes what is so small in one file.
    for path in (folder / "text_encoder").glob("*.safetensors"):
        path.unlink()
    reader.save_pretrained(folder / "text_encoder", max_shard_size=40_000)
    assert json.loads((folder / "model_index.json").read_text())["is_distilled"]
    return folder
