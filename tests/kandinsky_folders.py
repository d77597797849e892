"""Kandinsky 2.2 in tiny with random weights, written by diffusers in the published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

DIM = 32
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
PIECES = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """The files of a tokenizer as they are published, without merges: one piece a letter."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(PIECES)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": PIECES[-2], "eos_token": PIECES[-1], "unk_token": PIECES[-1],
               "pad_token": PIECES[-1]}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}))
    return CLIPTokenizer.from_pretrained(folder)


def prior_pipeline(tokenizer: CLIPTokenizer) -> KandinskyV22PriorPipeline:
    """The pipeline of the prior's repository."""
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=DIM,
                             num_layers=1)
    torch.nn.init.ones_(prior.clip_std)
    shape: dict[str, Any] = {"hidden_size": DIM, "intermediate_size": 37, "num_attention_heads": 4,
                             "num_hidden_layers": 2, "projection_dim": DIM}
    text = CLIPTextConfig(vocab_size=len(PIECES), bos_token_id=len(PIECES) - 2,
                          eos_token_id=len(PIECES) - 1, pad_token_id=len(PIECES) - 1, **shape)
    vision = CLIPVisionConfig(image_size=28, patch_size=14, **shape)
    return KandinskyV22PriorPipeline(
        prior=prior.eval(), text_encoder=CLIPTextModelWithProjection(text).eval(),
        image_encoder=CLIPVisionModelWithProjection(vision).eval(), tokenizer=tokenizer,
        scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample",
                                  clip_sample_range=10.0),
        image_processor=CLIPImageProcessor(size=28, crop_size=28))


def decoder_pipeline() -> KandinskyV22Pipeline:
    """The pipeline of the decoder's repository."""
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=8, addition_embed_type="image", block_out_channels=(32, 64),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", layers_per_block=1, encoder_hid_dim=DIM,
        encoder_hid_dim_type="image_proj", cross_attention_dim=DIM, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift")
    movq = VQModel(
        block_out_channels=(32, 64), layers_per_block=1, latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), norm_type="spatial",
        num_vq_embeddings=12, vq_embed_dim=4)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, variance_type="learned_range")
    return KandinskyV22Pipeline(unet=unet.eval(), movq=movq.eval(), scheduler=scheduler)


def write_kandinsky(folder: Path) -> tuple[Path, Path]:
    """The folders of the prior's and of the decoder's repository."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior_pipeline(write_tokenizer(folder / "tokenizer")).save_pretrained(folder / "prior")
        decoder_pipeline().save_pretrained(folder / "decoder")
    # What the library writes today instead of the published files.
    target = folder / "prior" / "tokenizer"
    for path in target.iterdir():
        path.unlink()
    for path in (folder / "tokenizer").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return folder / "prior", folder / "decoder"
