"""The schedule that trains all embedded models: each run's settings fit those before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import train_all
from training.loop import load_config
from training.make_codes import CONFIGS


def test_the_decoder_goes_on_from_the_vqgan_that_was_trained_before_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[str, list[str]] = {}

    def note(name: str, module: str, *arguments: str) -> None:
        assert arguments[::2] == ("--set",) * (len(arguments) // 2)
        runs[name] = [module, *arguments[1::2]]

    monkeypatch.setattr(train_all, "run", note)
    train_all.Schedule(1).train_vqgan()
    assert list(runs) == ["vqgan", "vqgan-decoder", "upscaler"]
    first, again = (load_config(CONFIGS / "vqgan.toml", runs[name][1:], gpu=True)
                    for name in ("vqgan", "vqgan-decoder"))
    assert first["model"] == again["model"]
    assert Path(again["start_from"]) == Path("assets/weights") / first["export_as"]
    # The codes of all others are read from there.
    assert first["export_as"] == again["export_as"] == "vqgan"
    assert again["decoder_only"]
    assert not first["decoder_only"]
