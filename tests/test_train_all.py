"""The schedule that trains all embedded models: each run's settings fit those before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import train_all
from training.loop import load_config
from training.make_codes import CONFIGS

Runs = dict[str, dict[str, Any]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """What is run, with its configuration where it is a trainer's."""
    found: Runs = {}

    def note(name: str, module: str, *arguments: str) -> None:
        given = list(zip(arguments[::2], arguments[1::2], strict=True))
        path = Path(dict(given).get("--config", CONFIGS / f"{name.replace('-', '_')}.toml"))
        settings = [v for key, v in given if key == "--set"]
        found[name] = load_config(path, settings, gpu=True) if path.exists() else dict(given)

    monkeypatch.setattr(train_all, "run", note)
    return found


def test_dalle_writes_the_codes_of_the_layers_vqgan(runs: Runs) -> None:
    train_all.Schedule(1).train_dalle()
    assert list(runs) == ["layer-vqgan", "codes-dalle", "dalle"]
    vqgan, dalle = runs["layer-vqgan"], runs["dalle"]
    assert dalle["vqgan"] == vqgan["export_as"]
    assert dalle["model"]["codebook_size"] ** dalle["model"]["digits"] == vqgan["model"]["n_embed"]
    assert dalle["model"]["grid"] * 16 == vqgan["model"]["resolution"]


def test_the_decoder_goes_on_from_the_vqgan_that_was_trained_before_it(runs: Runs) -> None:
    train_all.Schedule(1).train_vqgan()
    assert list(runs) == ["vqgan", "vqgan-decoder", "upscaler", "discriminator"]
    first, again = runs["vqgan"], runs["vqgan-decoder"]
    assert first["model"] == again["model"]
    assert Path(again["start_from"]) == Path("assets/weights") / first["export_as"]
    # The codes of all others are read from there.
    assert first["export_as"] == again["export_as"] == "vqgan"
    assert runs["discriminator"]["vqgan"] == first["export_as"], "it belongs to that VQGAN"
    assert again["decoder_only"]
    assert not first["decoder_only"]
