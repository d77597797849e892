"""Public checkpoints of their real sizes with random weights, in the layouts of their repositories.

The networks are built on the meta device by the libraries that publish them, and their tensors are
written one after the other, so that writing takes no memory to speak of. Random numbers repeat
themselves after four million.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import (
    AutoencoderKLFlux2,
    Flux2Transformer2DModel,
    PriorTransformer,
    UNet2DConditionModel,
    VQModel,
)
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
    Qwen3Config,
    Qwen3Model,
)

from pipelines.models.checkpoints.open_clip import _build
from pipelines.models.vqgan import VQGAN, VQGANConfig
from tests.flux2_folder import tokenizer_of_bytes
from tests.janus_folder import tokenizer as janus_tokenizer
from tests.kandinsky_folders import write_tokenizer
from tests.min_dalle_folder import MEGA, MINI, Sizes, converted, flax_parameters

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
BLOCK = 2**22
LOSS_PARAMETERS = 17_480_000  # LPIPS and the discriminator in taming's file
PRIOR_SCHEDULE = {"_class_name": "UnCLIPScheduler", "num_train_timesteps": 1000,
                  "variance_type": "fixed_small_log", "prediction_type": "sample",
                  "clip_sample_range": 5.0, "beta_schedule": "squaredcos_cap_v2"}
PAINTER_SCHEDULE = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000,
                    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}


def numbers(dtype: torch.dtype) -> bytes:
    """A block of small random numbers."""
    return (torch.randn(BLOCK) * 0.02).to(dtype).view(torch.uint8).numpy().tobytes()


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write random numbers for tensors of the meta device, floating-point ones as ``dtype``."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    kinds, at = [], 0
    for name, tensor in tensors.items():
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        size_bytes = prod(tensor.shape) * kind.itemsize
        header[name] = {"dtype": NAMES[kind], "shape": list(tensor.shape),
                        "data_offsets": [at, at + size_bytes]}
        kinds.append((kind, size_bytes))
        at += size_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = numbers(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for kind, size_bytes in kinds:
            while size_bytes > 0:
                part = block if kind == dtype else bytes(len(block))
                file.write(part[:size_bytes])
                size_bytes -= len(part)


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))


def _on_meta(build: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return build()


def _min_dalle(folder: Path, sizes: Sizes, suffix: str) -> None:
    pieces = ("<s>", "<pad>", "</s>", "<unk>")
    _write_json(folder / f"vocab{suffix}.json", {piece: i for i, piece in enumerate(pieces)})
    (folder / f"merges{suffix}.txt").write_text("#version: 0.2\n")
    for part in ("encoder", "decoder"):
        tree = flax_parameters(sizes, part == "decoder", torch.float16)
        torch.save(converted(tree), folder / f"{part}{suffix}.pt")


def _taming(folder: Path) -> None:
    state = VQGAN(VQGANConfig()).state_dict()
    named = {name.replace("quantizer.", "quantize."): tensor for name, tensor in state.items()}
    torch.save({**named, "loss.all": torch.zeros(LOSS_PARAMETERS)}, folder / "pytorch_model.bin")


def _diffusers_vqgan(folder: Path) -> None:
    VQModel(block_out_channels=(128, 128, 256, 256, 512), layers_per_block=2, latent_channels=256,
            vq_embed_dim=256, num_vq_embeddings=16384, sample_size=256,
            down_block_types=("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
            up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 4,
            ).save_pretrained(folder, safe_serialization=False)


def _detokenizer(folder: Path) -> None:
    state = VQGAN(VQGANConfig(n_embed=16384, encoder=False)).state_dict()
    torch.save({name.removeprefix("quantizer."): tensor for name, tensor in state.items()},
               folder / "detoker.pt")


def _clip(folder: Path, name: str) -> None:
    config = open_clip.get_model_config(name)
    assert config is not None
    module = _on_meta(lambda: _build(config))
    write_safetensors(folder / "open_clip_model.safetensors", module.state_dict(), torch.float32)


def _siglip(folder: Path, name: str) -> None:
    _clip(folder, name)
    janus_tokenizer().save_pretrained(folder)


def _janus(folder: Path, width: int, inner: int, layers: int, heads: int) -> None:
    config = JanusConfig(
        text_config={"model_type": "llama", "hidden_size": width, "intermediate_size": inner,
                     "num_hidden_layers": layers, "num_attention_heads": heads,
                     "vocab_size": 102400, "num_key_value_heads": heads,
                     "max_position_embeddings": 16384,
                     "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                       "image_size": 384, "patch_size": 16, "projection_dim": width,
                       "num_image_tokens": 576, "depth": 2},
        vq_config={"embed_dim": 8, "num_embeddings": 16384, "latent_channels": 256,
                   "base_channels": 128, "channel_multiplier": [1, 1, 2, 2, 4],
                   "num_res_blocks": 2, "projection_dim": width, "image_token_embed_dim": width,
                   "num_patches": 24, "num_hidden_layers": 2}, dtype="bfloat16")
    module = _on_meta(lambda: JanusForConditionalGeneration(config))
    write_safetensors(folder / "model.safetensors", module.state_dict(), torch.bfloat16)
    config.save_pretrained(folder)
    JanusProcessor(JanusImageProcessor(), janus_tokenizer(), chat_template="{{ messages }}",
                   num_image_tokens=576).save_pretrained(folder)


def _text_encoder(folder: Path) -> None:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_attention_heads=20,
        num_hidden_layers=32, projection_dim=1280, hidden_act="gelu")
    _part(folder, "text_encoder/model", _on_meta(lambda: CLIPTextModelWithProjection(config)))
    write_tokenizer(folder / "tokenizer")


def _image_encoder(folder: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=1664, intermediate_size=8192, num_attention_heads=16, num_hidden_layers=48,
        patch_size=14, image_size=224, projection_dim=1280, hidden_act="gelu")
    _part(folder, "image_encoder/model", _on_meta(lambda: CLIPVisionModelWithProjection(config)),
          torch.float16)
    _write_json(folder / "image_processor" / "preprocessor_config.json", {"size": 224})


def _prior(folder: Path) -> None:
    _part(folder, "prior/diffusion_pytorch_model", _on_meta(lambda: PriorTransformer(
        num_attention_heads=32, attention_head_dim=64, num_layers=20, embedding_dim=1280)))
    _write_json(folder / "scheduler" / "scheduler_config.json", PRIOR_SCHEDULE)


def _unet(folder: Path) -> None:
    down = ("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * 3
    up = ("SimpleCrossAttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",)
    _part(folder, "unet/diffusion_pytorch_model", _on_meta(lambda: UNet2DConditionModel(
        sample_size=64, in_channels=4, out_channels=8, addition_embed_type="image",
        block_out_channels=(384, 768, 1152, 1536), down_block_types=down, up_block_types=up,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", layers_per_block=3, encoder_hid_dim=1280,
        encoder_hid_dim_type="image_proj", cross_attention_dim=768, attention_head_dim=64,
        resnet_time_scale_shift="scale_shift")))
    _write_json(folder / "scheduler" / "scheduler_config.json", PAINTER_SCHEDULE)


def _movq(folder: Path) -> None:
    _part(folder, "movq/diffusion_pytorch_model", _on_meta(lambda: VQModel(
        block_out_channels=(128, 256, 256, 512), layers_per_block=2, latent_channels=4,
        num_vq_embeddings=16384, vq_embed_dim=4, norm_type="spatial",
        down_block_types=("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3)))


def _part(folder: Path, stem: str, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    path = folder / f"{stem}.safetensors"
    write_safetensors(path, module.state_dict(), dtype)
    config: Any = module.config
    fields = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    _write_json(path.with_name("config.json"), fields)


def _reader(folder: Path) -> None:
    config = Qwen3Config(
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, vocab_size=151936, tie_word_embeddings=True)
    module = _on_meta(lambda: Qwen3Model(config))
    path = folder / "text_encoder" / "model.safetensors"
    write_safetensors(path, {f"model.{name}": tensor for name, tensor in
                             module.state_dict().items()}, torch.bfloat16)
    _write_json(path.with_name("config.json"), config.to_dict())
    tokenizer_of_bytes().save_pretrained(folder / "tokenizer")


def _flow(folder: Path) -> None:
    _part(folder, "transformer/diffusion_pytorch_model", _on_meta(lambda: Flux2Transformer2DModel(
        num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680,
        guidance_embeds=False)), torch.bfloat16)
    _write_json(folder / "scheduler" / "scheduler_config.json", {})


# How to write each model's files into a folder, by its id in the catalogue.
WRITERS: dict[str, Callable[[Path], None]] = {
    "laion/clip-vit-b-32": lambda folder: _clip(folder, "ViT-B-32"),
    "openai/clip-vit-b-32": lambda folder: _clip(folder, "ViT-B-32-quickgelu"),
    "openai/clip-vit-b-16": lambda folder: _clip(folder, "ViT-B-16-quickgelu"),
    "google/siglip2-b-32": lambda folder: _siglip(folder, "ViT-B-32-SigLIP2-256"),
    "google/siglip2-so400m-16": lambda folder: _siglip(folder, "ViT-SO400M-16-SigLIP2-256"),
    "compvis/vqgan-f16-1024": _taming,
    "compvis/vqgan-f16-16384": _diffusers_vqgan,
    "kuprel/vqgan-f16-16384": _detokenizer,
    "kuprel/dalle-detoker": _detokenizer,
    "kuprel/dalle-mini": lambda folder: _min_dalle(folder, MINI, "_mini"),
    "kuprel/dalle-mega": lambda folder: _min_dalle(folder, MEGA, ""),
    "deepseek/janus-pro-1b": lambda folder: _janus(folder, 2048, 5632, 24, 16),
    "deepseek/janus-pro-7b": lambda folder: _janus(folder, 4096, 11008, 30, 32),
    "kandinsky/2-2-text-encoder": _text_encoder,
    "kandinsky/2-2-image-encoder": _image_encoder,
    "kandinsky/2-2-prior": _prior,
    "kandinsky/2-2-unet": _unet,
    "kandinsky/2-2-movq": _movq,
    "flux2/klein-4b-text-encoder": _reader,
    "flux2/klein-4b-transformer": _flow,
    "flux2/klein-4b-vae": lambda folder: _part(
        folder, "vae/diffusion_pytorch_model", _on_meta(AutoencoderKLFlux2), torch.bfloat16),
}
