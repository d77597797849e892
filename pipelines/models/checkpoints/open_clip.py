"""Published CLIPs: open_clip's folders and tags, OpenAI's layout, transformers' ``CLIPModel``.

Where the configuration comes from, the first that there is: ``open_clip_config.json`` in the
folder; transformers' ``config.json``; the entry's ``config.model``, a name of open_clip; the file's
own name, where it is one of open_clip's ("ViT-B-32.safetensors").

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 2.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutMemory, check_depth, fill
from pipelines.models.checkpoints.tensor_files import read_tensors, weights_path
from pipelines.models.clip import OPENAI_MEAN, OPENAI_STD, ClipModel, Tokenizer, image_size
from pipelines.models.fast_clip import with_fast_kernels

OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG = "open_clip_config.json", "config.json"
# Sizes and ids that archives of OpenAI's time kept among the tensors; position ids are counted.
MASK_NUMBERS = 2**20  # of the largest mask, for texts of 1,024 tokens
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def load(folder: Path, entry: CatalogueEntry) -> ClipModel:
    """A CLIP with its tokenizer.

    Raises:
        WeightsError: a file is missing, damaged, refused, or of another architecture, or nothing
            says which model of open_clip it is.
    """
    path = weights_path(folder, entry)
    raw = {name: tensor for name, tensor in read_tensors(path, entry.id).items()
           if name not in NOT_WEIGHTS and not name.endswith("position_ids")}
    model_config, preprocess = _configuration(folder, entry, path)
    check_depth(model_config, raw, entry.id)
    mean, std = _statistics(preprocess, entry.id)
    try:
        if any(name.startswith("vision_model.") for name in raw):
            raw = from_transformers(raw)
        with WithoutMemory(MASK_NUMBERS):
            module = _build(model_config)
        fitting = _fitted(raw, module)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise WeightsError("The configuration of the model {} does not fit open_clip: {}.",
                           entry.id, _one_line(error)) from None
    fill(module, fitting, entry.id)
    raw.clear()  # or the layers that ``with_fast_kernels`` lays out anew would be in memory twice
    with_fast_kernels(module)
    return ClipModel(cast(open_clip.CLIP, module), _tokenizer(folder, model_config, entry.id),
                     image_size(model_config), mean, std)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")


def _configuration(folder: Path, entry: CatalogueEntry, path: Path,
                   ) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """open_clip's configuration of the model, and the statistics of its pictures."""
    found = _read_json(folder / OPEN_CLIP_CONFIG)
    if isinstance(found.get("model_cfg"), dict):
        return found["model_cfg"], found.get("preprocess_cfg") or {}
    found = _read_json(folder / TRANSFORMERS_CONFIG)
    if found.get("model_type") == "clip":
        return _transformers_configuration(found, entry.id), {}
    name = str(entry.config.get("model", path.name.partition(".")[0]))
    config = open_clip.get_model_config(name)
    if config is None:
        raise WeightsError("Nothing says which CLIP the model {} is: put its {} beside it, or "
                           "give the entry a config.model of open_clip, such as ViT-B-32.",
                           entry.id, OPEN_CLIP_CONFIG)
    # Pictures are normalised as for the tag, or as for the first one that open_clip lists.
    tags = [entry.config.get("pretrained"), *open_clip.list_pretrained_tags_by_model(name)]
    tag = next((str(tag) for tag in tags if tag), "")
    return copy.deepcopy(config), open_clip.get_pretrained_cfg(name, tag)


def _statistics(preprocess: Mapping[str, Any], model_id: str,
                ) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of each channel of the pictures.

    Raises:
        WeightsError: they are not three numbers, or a deviation is none.
    """
    mean, std = preprocess.get("mean") or OPENAI_MEAN, preprocess.get("std") or OPENAI_STD
    for values in (mean, std):
        if not (isinstance(values, Sequence) and len(values) == 3 and all(
                isinstance(value, int | float) and math.isfinite(value) for value in values)):
            break
    else:
        if min(std) > 0:
            return mean, std
    raise WeightsError("The configuration of the model {} gives a mean or a standard deviation of "
                       "pixels that cannot be.", model_id)


def _read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it is missing or something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _build(config: Mapping[str, Any]) -> nn.Module:
    """An untrained module; nothing is fetched for either tower."""
    known = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale",
             "init_logit_bias", "nonscalar_logit_scale"}
    fields = {name: copy.deepcopy(value) for name, value in config.items() if name in known}
    if "hf_model_name" in fields["text_cfg"]:
        raise ValueError("its text tower lies in another repository")
    if "multimodal_cfg" in config:
        raise ValueError("it is a captioner, not a CLIP")
    if "timm_model_name" in fields["vision_cfg"]:
        fields["vision_cfg"]["timm_model_pretrained"] = False
    build = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    return build(**fields)


def _fitted(tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Old layouts of open_clip's own under today's names and shapes."""
    found = convert_state_dict(cast(open_clip.CLIP, module), tensors)
    if "positional_embedding" in found and not hasattr(module, "positional_embedding"):
        found = convert_to_custom_text_state_dict(found)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(module, name, None)
        if name in found and own is not None:
            found[name] = found[name].reshape(own.shape)
    return found


def _tokenizer(folder: Path, config: Mapping[str, Any], model_id: str) -> Tokenizer:
    """open_clip's byte-pair tokenizer, or the one whose files lie in the folder."""
    text = config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs", {}))
    length = text.get("context_length", 77)
    if not text.get("hf_tokenizer_name"):
        return cast(Tokenizer, SimpleTokenizer(context_length=length, **options))
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError("The file tokenizer.json of the model {} is not there.", model_id)
    return cast(Tokenizer, HFTokenizer(str(folder), context_length=length,
                                       tokenizer_mode=text.get("tokenizer_mode"), **options))


def _transformers_configuration(config: Mapping[str, Any], model_id: str) -> dict[str, Any]:
    """open_clip's configuration for that of a transformers ``CLIPModel``."""
    try:
        # transformers writes only what differs from its defaults.
        from transformers import CLIPConfig
        whole = CLIPConfig.from_dict(dict(config))
        vision: Any = whole.vision_config
        text: Any = whole.text_config
        quick = {vision.hidden_act, text.hidden_act}
        if len(quick) != 1 or not quick <= {"quick_gelu", "gelu"}:
            raise ValueError(f"its activations are {', '.join(sorted(quick))}")
        return {
            "embed_dim": whole.projection_dim, "quick_gelu": quick == {"quick_gelu"},
            "vision_cfg": {
                "image_size": vision.image_size, "patch_size": vision.patch_size,
                "width": vision.hidden_size, "layers": vision.num_hidden_layers,
                "head_width": vision.hidden_size // vision.num_attention_heads,
                "mlp_ratio": vision.intermediate_size / vision.hidden_size},
            "text_cfg": {
                "context_length": text.max_position_embeddings, "vocab_size": text.vocab_size,
                "width": text.hidden_size, "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
                "mlp_ratio": text.intermediate_size / text.hidden_size}}
    except (AttributeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError("The {} of the model {} is not that of a CLIP: {}.", TRANSFORMERS_CONFIG,
                           model_id, _one_line(error)) from None


_TOWERS = (
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "visual.conv1.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.(.+)", r"visual.ln_pre.\1"),  # transformers' own spelling
    (r"vision_model\.post_layernorm\.(.+)", r"visual.ln_post.\1"),
    (r"vision_model\.encoder\.layers\.(.+)", r"visual.transformer.resblocks.\1"),
    (r"text_model\.embeddings\.token_embedding\.(.+)", r"token_embedding.\1"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.final_layer_norm\.(.+)", r"ln_final.\1"),
    (r"text_model\.encoder\.layers\.(.+)", r"transformer.resblocks.\1"),
)
_LAYER = ((".layer_norm1.", ".ln_1."), (".layer_norm2.", ".ln_2."), (".mlp.fc1.", ".mlp.c_fc."),
          (".mlp.fc2.", ".mlp.c_proj."), (".self_attn.out_proj.", ".attn.out_proj."))
_PROJECTION = re.compile(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)")


def from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a transformers ``CLIPModel`` by open_clip's names."""
    found: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name in ("visual_projection.weight", "text_projection.weight"):
            found["visual.proj" if name[0] == "v" else "text_projection"] = tensor.t().contiguous()
            continue
        for pattern, new in _TOWERS:
            if match := re.fullmatch(pattern, name):
                name = match.expand(new)
                break
        for old, new in _LAYER:
            name = name.replace(old, new)
        if match := _PROJECTION.fullmatch(name):
            block, part, kind = match.groups()
            joined.setdefault(f"{block}.attn.in_proj_{kind}", {})[part] = tensor
        else:
            found[name] = tensor
    for name, parts in joined.items():
        found[name] = torch.cat([parts[part] for part in "qkv" if part in parts])
    return found
