"""Files of the repository kuprel/min-dalle: encoder, decoder, detokenizer, vocabulary, merges.

Encoder and decoder were converted from Flax: half precision, the matrices transposed views, and all
layers of a parameter views of one block of memory. Five kinds of layer normalisation were trained
without a scale (dalle-mini's ``force_ln_scale``, off by default), so that the files hold only their
bias; min-dalle leaves torch's ones in their place, and so does this module. The detokenizer is in
float32.

Source: kuprel/min-dalle-flax, ``min_dalle_flax/load_params.py``; borisdayma/dalle-mini,
``src/dalle_mini/model/modeling.py``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutMemory, fill
from pipelines.models.checkpoints.tensor_files import read_tensors
from pipelines.models.checkpoints.vqgan import decoder_config_of, empty_vqgan
from pipelines.models.fast_vqgan import with_fast_kernels
from pipelines.models.min_dalle import (
    HEAD_WIDTH,
    Detokenizer,
    MinDalle,
    MinDalleConfig,
)
from pipelines.models.min_dalle_tokenizer import MinDalleTokenizer

logger = logging.getLogger(__name__)

# The files' names to ours, outside of layers and below "layers.N.".
_OUTSIDE = {"embed_tokens": "embedding", "embed_positions": "position",
            "layernorm_embedding": "embedding_norm", "final_ln": "norm", "lm_head": "head"}
_INSIDE = {"pre_self_attn_layer_norm": "norm", "self_attn_layer_norm": "out_norm",
           "self_attn.out_proj": "out", "pre_encoder_attn_layer_norm": "text_norm",
           "encoder_attn_layer_norm": "text_out_norm", "encoder_attn.q_proj": "text_q",
           "encoder_attn.out_proj": "text_out", "glu.ln0": "mlp.norm", "glu.ln1": "mlp.middle_norm",
           "glu.fc2": "mlp.down"}
# Matrices that see the same input, joined in this order.
_JOINED = {"qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
           "text_kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
           "mlp.up": ("glu.fc0", "glu.fc1")}
MOST_LAYERS = 256  # DALL·E mega has 24
_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")
# Normalisations, by our names, whose scale no published file holds.
_WITHOUT_SCALE = re.compile(
    r"(?:layers\.\d+\.(?:norm|text_norm|mlp\.norm|mlp\.middle_norm)|norm)\.bias")


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """A ``MinDalle``, or a ``Detokenizer`` where the entry lists a "detoker" and no encoder.

    Raises:
        WeightsError: a file is missing, damaged, refused, or of something else.
    """
    names = [Path(file.name).name for file in entry.files]
    if not any(name.startswith("encoder") for name in names):
        with WithoutMemory():
            module = Detokenizer()
        tensors = read_tensors(folder / _name(entry, "detoker"), entry.id)
        return with_fast_kernels(fill(module, tensors, entry.id))
    tokenizer = _tokenizer(folder / _name(entry, "vocab"), folder / _name(entry, "merges"),
                           entry.id)
    encoder = read_tensors(folder / _name(entry, "encoder"), entry.id)
    decoder = read_tensors(folder / _name(entry, "decoder"), entry.id)
    config = config_of(encoder, decoder, entry.id)
    if tokenizer.largest_id >= config.text_vocab_size:
        raise WeightsError("The vocabulary of the model {} has more ids than its encoder reads: "
                           "they are of two models.", entry.id)
    with WithoutMemory():
        module = MinDalle(config, tokenizer)
    wanted = module.state_dict().keys()
    tensors = {f"encoder.{name}": tensor for name, tensor in joined(encoder).items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in joined(decoder).items()}
    if unknown := sorted(tensors.keys() - wanted):  # min-dalle itself does not look at them
        logger.info("%s: not used, %s", entry.id, ", ".join(unknown))
    return fill(module, {name: tensors[name] for name in tensors if name in wanted}, entry.id)


def load_vqgan(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """The detokenizer's file as the VQGAN that it is: codes and decoder, and no encoder.

    Its pictures are scaled to [-1, 1] by the last layer's weights, and its normalisations are
    taming's, with an epsilon of 1e-6, as it was trained.

    Raises:
        WeightsError: the file is missing, damaged, refused, or of something else.
    """
    tensors = read_tensors(folder / _name(entry, "detoker"), entry.id)
    if "embedding.weight" in tensors:
        tensors["quantizer.embedding.weight"] = tensors.pop("embedding.weight")
    config = decoder_config_of(tensors, entry.id)
    module = empty_vqgan(config, entry.id)
    last = "decoder.conv_out."
    if f"{last}bias" in tensors:  # else ``fill`` says that it is missing
        tensors |= {f"{last}weight": tensors[f"{last}weight"] * 2,
                    f"{last}bias": tensors[f"{last}bias"] * 2 - 1}
    return with_fast_kernels(fill(module, tensors, entry.id))


def _tokenizer(vocabulary_path: Path, merges_path: Path, model_id: str) -> MinDalleTokenizer:
    """Read ``vocab.json`` and ``merges.txt``, whose first line is a comment.

    Raises:
        WeightsError: a file is missing or is something else.
    """
    try:
        vocabulary = json.loads(vocabulary_path.read_text(encoding="utf-8"))
        lines = merges_path.read_text(encoding="utf-8").split("\n")[1:-1]
        merges = [(first, second) for first, second in (line.split() for line in lines)]
        if not all(type(i) is int and i >= 0 for i in vocabulary.values()):
            raise ValueError("ids that are no numbers")
        return MinDalleTokenizer(vocabulary, merges)
    except OSError as error:
        name = Path(str(error.filename)).name
        raise WeightsError("The file {} of the model {} is not there.", name, model_id) from None
    except (ValueError, AttributeError):
        raise WeightsError("The vocabulary of the model {} is damaged.", model_id) from None


def _name(entry: CatalogueEntry, stem: str) -> str:
    """The entry's file whose name begins with ``stem``."""
    for file in entry.files:
        if Path(file.name).name.startswith(stem):
            return file.name
    raise WeightsError("The model {} lists no {} file.", entry.id, stem)


def config_of(encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor], model_id: str,
              ) -> MinDalleConfig:
    """The shape of the transformer, read off its tensors.

    Raises:
        WeightsError: they are those of something else.
    """
    try:
        text_vocab_size, dim = encoder["embed_tokens.weight"].shape
        layers = {int(found[1]) for name in decoder if (found := _LAYER.fullmatch(name))}
        config = MinDalleConfig(
            text_vocab_size, decoder["embed_tokens.weight"].shape[0], dim,
            hidden=decoder["layers.0.glu.fc0.weight"].shape[0], depth=len(layers),
            text_length=encoder["embed_positions.weight"].shape[0],
            num_codes=decoder["embed_positions.weight"].shape[0])
        if dim % HEAD_WIDTH or layers != set(range(config.depth)) or config.depth > MOST_LAYERS:
            raise ValueError(dim)
        return config
    except (KeyError, ValueError, IndexError):
        raise WeightsError("The weights of the model {} are not those of DALL·E mini: its tensors "
                           "have other names or sizes.", model_id) from None


def joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an encoder or a decoder by our names, ones for the scales that no file holds.

    Args:
        tensors: emptied on the way, so that hardly more than one copy is in memory.

    Returns:
        Tensors in memory of their own.
    """
    found: dict[str, Tensor] = {}
    lacking: dict[str, int] = {}  # how many parts of a matrix have not come
    parts = {part: (name, len(group), place)
             for name, group in _JOINED.items() for place, part in enumerate(group)}
    for name in list(tensors):
        tensor = tensors.pop(name)
        match = _LAYER.fullmatch(name)
        if match is None:
            stem, _, kind = name.rpartition(".")
            found[f"{_OUTSIDE.get(stem, stem)}.{kind}"] = _own(tensor)
            continue
        layer, part, kind = match.groups()
        if part not in parts or not tensor.ndim:
            found[f"layers.{layer}.{_INSIDE.get(part, part)}.{kind}"] = _own(tensor)
            continue
        new, count, place = parts[part]
        new = f"layers.{layer}.{new}.{kind}"
        if new not in found:
            found[new] = tensor.new_empty(count * tensor.shape[0], *tensor.shape[1:])
            lacking[new] = count
        # Into its place at once: parts that wait for each other would be in memory twice.
        whole = found[new].view(count, -1, *found[new].shape[1:])[place]
        if (whole.shape == tensor.shape and not tensor.is_complex()
                and whole.is_floating_point() == tensor.is_floating_point()):
            whole.copy_(tensor)
            lacking[new] -= 1
    for name in [name for name, count in lacking.items() if count]:
        del found[name]  # ``fill`` says that it is missing
    for name in [name for name in found if _WITHOUT_SCALE.fullmatch(name)]:
        bias = found[name]
        found.setdefault(name.removesuffix("bias") + "weight", torch.ones_like(bias))
    return found


def _own(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, in reading order: a view would keep all layers' alive."""
    if tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
