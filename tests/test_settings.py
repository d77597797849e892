"""Every setting is documented, bounded, and wrong values are told by the variable's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import EaselError
from pipelines.settings import PREFIX, Settings, load_settings, settings_table


def test_the_readme_lists_every_setting(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    missing = [row for row in settings_table().splitlines()[2:] if row not in readme]
    assert not missing, "README.md lacks these rows of the settings table:\n" + "\n".join(missing)


def test_every_setting_has_a_description_and_a_default() -> None:
    for name, info in Settings.model_fields.items():
        assert info.description, name
        assert info.description.endswith("."), name
        assert not info.is_required(), name


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_PORT", "8080")
    monkeypatch.setenv("EASEL_MODEL_BUDGET", "2GB")
    monkeypatch.setenv("EASEL_DTYPE", "bfloat16")
    settings = load_settings()
    assert (settings.port, settings.model_budget) == (8080, 2 * 10**9)
    assert settings.torch_dtype() == torch.bfloat16


def test_a_space_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert load_settings().host == "0.0.0.0"
    monkeypatch.setenv("EASEL_HOST", "127.0.0.2")
    assert load_settings().host == "127.0.0.2"
    assert Settings(host="127.0.0.3").host == "127.0.0.3"


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(PREFIX + name.upper(), "")
    assert load_settings() == Settings.model_construct()


@pytest.mark.parametrize(("name", "value"), [
    ("PORT", "0"), ("PORT", "many"), ("DEVICE", "abacus"), ("DTYPE", "int3"),
    ("QUEUE_SIZE", "-1"), ("MODEL_BUDGET", "a lot"), ("THREADS", "-2"), ("LOG_LEVEL", "LOUD"),
])
def test_wrong_values_name_their_variable(monkeypatch: pytest.MonkeyPatch, name: str,
                                          value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(EaselError, match=rf"^EASEL_{name} is not valid: .*\.$"):
        load_settings()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(EaselError, match="which this machine lacks"):
        Settings(device="cuda:63").torch_device()
    assert Settings(device="cpu").torch_device() == torch.device("cpu")
