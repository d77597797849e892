"""Models whose files are damaged end a run in a sentence that says which part they had in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.core.errors import WeightsError
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.test_public_models import PublicLoader, catalogue, run, small_catalogue

__all__ = ["catalogue"]


class DamagedLoader(PublicLoader):
    """One model holds a weight that is no number."""

    def __init__(self, catalogue: Catalogue, damaged: str) -> None:
        super().__init__(catalogue)
        self.damaged = damaged

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        model = super().load(model_id, device, dtype)
        if model_id == self.damaged:
            for parameter in model.parameters():
                parameter.flatten()[0] = torch.nan
        return model


@pytest.mark.parametrize(("damaged", "says"), [
    ("mine/vqgan", "The VQGAN or a guide gives values that are no numbers"),
    ("embedded/clip-guide", "no numbers"),
    ("mine/clip", "A CLIP gives values that are no numbers")])
def test_weights_that_are_no_numbers_end_a_run_in_a_sentence(catalogue: Catalogue, damaged: str,
                                                             says: str) -> None:
    cache = ModelCache(DamagedLoader(catalogue, damaged))
    with pytest.raises(WeightsError, match=says):
        run(VQGANCLIPPipeline(catalogue), cache,
            options={"vqgan": "mine/vqgan", "ranker": "mine/clip", "iterations": 3,
                     "size_px": 128})
    cache.close()


def test_a_ranker_that_cannot_be_loaded_is_told_by_its_part(tmp_path: Path) -> None:
    """It may be the automatic one, whose files were there and nothing else was known of them."""
    catalogue = small_catalogue(tmp_path)
    folder = catalogue.folder(catalogue.get("laion/clip-vit-b-32"))
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(2)}, folder / "open_clip_model.safetensors")
    options = {"vqgan": "mine/vqgan", "guide": "mine/clip", "iterations": 1, "size_px": 128}
    cache = ModelCache(PublicLoader(catalogue))
    with pytest.raises(WeightsError, match=(
            r"^The (?:weights|files?) of the model laion/clip-vit-b-32 .*\. "
            r"It was to put the pictures in order: choose another ranker\.$")):
        run(VQGANCLIPPipeline(catalogue), cache, options=options)
    with pytest.raises(WeightsError) as caught:
        run(VQGANCLIPPipeline(catalogue), cache,
            options={**options, "guide": "laion/clip-vit-b-32", "ranker": "mine/clip"})
    assert "in order" not in str(caught.value)
    cache.close()
