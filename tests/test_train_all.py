"""The schedule that trains all embedded models: each run's settings fit those before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import train_all
from training.loop import load_config
from training.make_codes import CONFIGS


def test_the_decoder_goes_on_from_the_vqgan_that_was_trained_before_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[str, dict[str, Any]] = {}

    def note(name: str, module: str, *arguments: str) -> None:
        given = list(zip(arguments[::2], arguments[1::2], strict=True))
        path = dict(given).get("--config", CONFIGS / f"{name}.toml")
        runs[name] = load_config(Path(path), [v for key, v in given if key == "--set"], gpu=True)

    monkeypatch.setattr(train_all, "run", note)
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
