"""The engine by itself: a prompt becomes a picture where the application cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = ("easel", "gradio", "sqlalchemy")
ALONE = f"""
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError(f"{{name}} must not be imported here")

sys.meta_path.insert(0, Forbid())

import torch

from pipelines.core.events import Result
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.pipeline import RunContext
from pipelines.registry import build_registry

catalogue = Catalogue.load()
registry = build_registry(catalogue)
request = registry.check({{"pipeline": "dalle", "prompt": "a red apple", "num_images": 1}})
context = RunContext(ModelCache(CatalogueLoader(catalogue), "cpu"), torch.device("cpu"))
*_, result = registry.get(request.pipeline).run(request, context)
assert isinstance(result, Result)
print(result.candidates[0].image.shape)
"""


def alone(code: str, repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True,
                          text=True, timeout=600)


@pytest.mark.weights("dalle", "clip-ranker")
def test_a_prompt_is_drawn_without_the_application(repository: Path) -> None:
    done = alone(ALONE, repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(256, 256, 3)"


@pytest.mark.parametrize("module", FORBIDDEN)
def test_the_application_cannot_be_imported_there(module: str, repository: Path) -> None:
    """Or the test above would say nothing."""
    head = ALONE.partition("import torch")[0]
    done = alone(f"{head}import {module}", repository)
    assert f"ModuleNotFoundError: {module} must not be imported here" in done.stderr
