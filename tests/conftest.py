"""What every test shares: one compute thread, no telemetry, where the repository is."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

# Before torch, gradio or the hub client is imported: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = REPOSITORY / "assets" / "weights"

# Time decides no test: a machine may be busy with others.
hypothesis.settings.register_profile("easel", deadline=None)
hypothesis.settings.load_profile("easel")


def pytest_configure(config: pytest.Config) -> None:
    """Tests run one beside another on small machines: one thread is faster than a fight."""
    torch.set_num_threads(1)


def missing_models(*names: str) -> list[str]:
    """Which embedded models are not in assets/weights.

    Args:
        names: folders in assets/weights; all embedded models where there are none.
    """
    entries = tomllib.loads((WEIGHTS.parent / "catalogue.toml").read_text("utf-8"))["models"]
    files = {entry["id"].removeprefix("embedded/"): [file["name"] for file in entry["files"]]
             for entry in entries if entry["id"].startswith("embedded/")}
    return [name for name in names or files
            if not all((WEIGHTS / name / file).is_file()
                       for file in files.get(name, ["model.safetensors"]))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    no_gpu = pytest.mark.skip(reason="no accelerator on this machine")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        marker = item.get_closest_marker("weights")
        if marker is not None and (missing := missing_models(*marker.args)):
            item.add_marker(pytest.mark.skip(
                reason=f"assets/weights lacks {', '.join(missing)}"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return REPOSITORY


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator with a fixed seed, so that no test touches the global one."""
    return torch.Generator().manual_seed(0)
