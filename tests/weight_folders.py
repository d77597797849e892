"""Small models on disk, as the embedded ones lie there, and a catalogue of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.models import clip, dalle, vqgan
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from training.export import export

VQGAN_CONFIG = {"resolution": 32, "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1,
                "attn_resolutions": [], "z_channels": 8, "embed_dim": 8, "n_embed": 16}
CLIP_CONFIG = {"embed_dim": 16,
               "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1,
                              "head_width": 16},
               "text_cfg": {"context_length": 32, "vocab_size": 64, "width": 32, "layers": 1,
                            "heads": 2}}
DALLE_CONFIG = {"text_vocab_size": 64, "text_length": 8, "codebook_size": 16, "grid": 4,
                "dim": 32, "depth": 1, "heads": 2, "code_dim": 8, "head_dim": 24}


def entry(model_id: str, family: str, **pins: str) -> CatalogueEntry:
    """A catalogue entry of the two usual files."""
    files = tuple(ModelFile(name=name, sha256=pins.get(name.partition(".")[0]))
                  for name in ("config.json", "model.safetensors"))
    return CatalogueEntry.model_validate({
        "id": model_id, "title": "test model", "family": family, "licence": "Apache-2.0",
        "source": "made by a test", "files": files})


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Three small models with random weights, on disk, not pinned."""
    for name, build, architecture, config in (
            ("vqgan", vqgan.build, "vqgan", VQGAN_CONFIG),
            ("clip", clip.build, "clip", CLIP_CONFIG),
            ("dalle", dalle.build, "dalle", DALLE_CONFIG)):
        export(build(config), name, architecture, config, "A test.", tmp_path)
    return Catalogue(tuple(entry(f"embedded/{name}", name) for name in ("vqgan", "clip", "dalle")),
                     tmp_path)
