"""Every setting is documented, bounded, and wrong values are told by the variable's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize, TypeAdapter

from easel.settings import Settings, load_settings, unknown_settings
from pipelines.core.amounts import Bytes, Share
from pipelines.core.errors import EaselError
from pipelines.core.settings import PREFIX, described
from pipelines.engine import build_cache
from pipelines.models.cache.memory import device_budget, resolve, total_bytes
from tests.conftest import REPOSITORY


def settings_table() -> str:
    """The settings as docs/settings.md lists them."""
    lines = ["| variable | default | what it does |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {f'`{default}`' if default else 'empty'} | {description} |"
              for name, default, description in described(Settings)]
    return "\n".join(lines)


def test_the_docs_list_every_setting(repository: Path) -> None:
    page = (repository / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page.partition("\n| variable")[2] == settings_table().removeprefix("| variable") + "\n"
    rows = [row for row in (repository / "README.md").read_text(encoding="utf-8").splitlines()
            if row.startswith("| `EASEL_")]
    assert rows
    assert not set(rows) - set(settings_table().splitlines())


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
    unset = load_settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(PREFIX + name.upper(), "")
    assert load_settings() == unset


@pytest.mark.parametrize(("name", "value"), [
    ("PORT", "0"), ("PORT", "many"), ("DEVICE", "abacus"), ("DTYPE", "int3"),
    ("QUEUE_SIZE", "-1"), ("MODEL_BUDGET", "a lot"), ("THREADS", "-2"), ("LOG_LEVEL", "LOUD"),
])
def test_wrong_values_name_their_variable(monkeypatch: pytest.MonkeyPatch, name: str,
                                          value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(EaselError, match=rf"^EASEL_{name} is not valid: .*\.$"):
        load_settings()


@pytest.mark.parametrize(("name", "value", "wanted"), [
    ("HISTORY_QUOTA", "50%", "bytes such as 2GB"), ("VISITOR_QUOTA", "2,5GB", "bytes such as 2GB"),
    ("CACHE_QUOTA", "16 apples", "bytes such as 2GB"),
    ("PAUSED_QUOTA", "2 GB or so", "bytes such as 2GB"), ("MAX_UPLOAD", "16MB!", "bytes such as"),
    ("ACTIVATION_RESERVE", "-2GB", "bytes such as 2GB"),
    ("MODEL_BUDGET", "2GB, please", "bytes such as 2GB or a share such as 50%"),
    ("DEVICE", "gpu", "auto, cpu, cuda, cuda:1 or mps"), ("DEVICE", "cuda:", "auto, cpu, cuda"),
    ("DATA_DIR", "~nobody-of-that-name/x", "a path; nobody here has that home"),
    ("CATALOGUE", "~nobody-of-that-name/x", "a path; nobody here has that home"),
    ("SEARCH_FOLDERS", "/tmp:~nobody-of-that-name/x", "a path; nobody here has that home"),
    ("LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ("PORT", "7860px", "a whole number between 1 and 65535, not '7860px'."),
    ("PORT", "0", "a whole number between 1 and 65535, not '0'."),
    ("PORT", "1.5", "a whole number between 1 and 65535, not '1.5'."),
    ("JOB_SECONDS", "-1", "a whole number, 0 or more, not '-1'."),
    ("METRICS", "perhaps", "true or false, not 'perhaps'."),
    ("ALLOWED_HOSTS", "<a>", "names such as example.org, not '<a>'."),
])
def test_misread_values_say_what_is_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str,
                                           wanted: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(EaselError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"EASEL_{name} is not valid: {wanted}")
    assert value.upper() in str(caught.value).upper()


@given(st.text(st.sampled_from("0123456789.,%~ gGbBiI-+"), max_size=8))
def test_an_amount_is_read_whole_or_refused(text: str) -> None:
    adapter = TypeAdapter(Bytes)
    try:
        amount = adapter.validate_python(text)
    except ValueError:
        return
    said = text.strip().lower()
    digits = said.rstrip("abcdefghijklmnopqrstuvwxyz ")
    factor = {"": 1, "b": 1, "gb": 10**9, "gib": 2**30, "g": 10**9, "gi": 2**30, "bi": 1}
    assert int(amount) == pytest.approx(float(digits) * factor[said[len(digits):].strip()], abs=1)


def test_home_and_case_are_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {"DATA_DIR": "~/easel", "CATALOGUE": "~/own.toml", "LOG_LEVEL": "debug",
                        "DEVICE": "CPU", "DTYPE": " Float32", "MODELS_BY": "Nobody",
                        "LOG_FORMAT": "JSON", "SEARCH_FOLDERS": "~/a"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    found = load_settings()
    assert (found.data_dir, found.catalogue) == (tmp_path / "easel", tmp_path / "own.toml")
    assert (found.log_level, found.device, found.dtype) == ("DEBUG", "cpu", "float32")
    assert (found.models_by, found.log_format) == ("nobody", "json")
    assert found.search_roots() == ((tmp_path / "a").resolve(),)


def test_misspelt_names_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_settings() == []
    monkeypatch.setenv("EASEL_DEVCE", "cpu")
    monkeypatch.setenv("EASEL_X", "1")
    assert unknown_settings() == [
        "EASEL_DEVCE is no setting of Easel; did you mean EASEL_DEVICE?",
        "EASEL_X is no setting of Easel."]


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(EaselError, match="which this machine lacks"):
        Settings(device="cuda:63").torch_device()
    assert Settings(device="cpu").torch_device() == torch.device("cpu")


@pytest.mark.parametrize(("text", "amount"), [
    ("2GB", 2 * 10**9), ("2GiB", 2 * 2**30), ("5000", 5000), ("50%", Share(50)),
    ("12.5%", Share(12.5)), (" 100% ", Share(100))])
def test_memory_in_bytes_or_as_a_share(monkeypatch: pytest.MonkeyPatch, text: str,
                                       amount: int | Share) -> None:
    monkeypatch.setenv("EASEL_HOST_BUDGET", text)
    assert load_settings().host_budget == amount


@pytest.mark.parametrize("text", ["0%", "101%", "-1%", "%", "half", "nan%"])
def test_a_share_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EASEL_MODEL_BUDGET", text)
    with pytest.raises(EaselError, match=r"^EASEL_MODEL_BUDGET is not valid: bytes such as 2GB or "
                                         r"a share such as 50%, not"):
        load_settings()


def test_a_share_is_of_the_memory_and_never_of_the_reserve() -> None:
    cpu = torch.device("cpu")
    total = total_bytes(cpu)
    assert total is not None
    assert total > 2**26
    assert resolve(Share(50), cpu) == total // 2
    assert resolve(ByteSize(123), cpu) == 123
    assert resolve(None, cpu) is None
    assert device_budget(Share(80), 2 * 10**7, cpu) == int(total * 0.8)
    assert device_budget(Share(100), 2 * 10**7, cpu) == total - 2 * 10**7
    assert device_budget(None, 2 * 10**7, cpu) == total - 2 * 10**7
    assert device_budget(Share(80), total + 1, cpu) == 0


def test_the_budgets_reach_the_cache() -> None:
    stats = build_cache(Settings(device="cpu", model_budget=ByteSize(10**6))).stats()
    assert (stats.budget_bytes, stats.host_budget_bytes) == (10**6, 0)
    settings = Settings(device="cpu", model_budget=Share(10), host_budget=ByteSize(2 * 10**6))
    stats = build_cache(settings).stats()
    assert (stats.budget_bytes, stats.host_budget_bytes) == (
        resolve(Share(10), torch.device("cpu")), 2 * 10**6)


def test_arguments_are_refused_and_the_settings_listed(repository: Path) -> None:
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "app.py", *arguments], cwd=repository,
                              capture_output=True, text=True, timeout=120)

    told = start("--help")
    assert told.returncode == 0
    assert "EASEL_PORT=7860\n      Port that the page listens on." in told.stdout
    assert "EASEL_MODEL_BUDGET=80%\n" in told.stdout
    refused = start("--port", "80")
    assert refused.returncode == 2
    assert "unrecognized arguments: --port 80" in refused.stderr


def test_relative_paths_mean_the_same_wherever_easel_is_started(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "CATALOGUE", "SEARCH_FOLDERS"):
        monkeypatch.setenv(f"EASEL_{name}", f"nowhere-{name.lower()}")
    found = []
    for folder in (tmp_path, REPOSITORY):
        monkeypatch.chdir(folder)
        settings = load_settings()
        found.append((settings.data_dir, settings.catalogue, settings.search_roots()))
    assert found[0] == found[1] == (
        REPOSITORY / "nowhere-data_dir", REPOSITORY / "nowhere-catalogue",
        (REPOSITORY / "nowhere-search_folders",))
    monkeypatch.delenv("EASEL_DATA_DIR")
    assert load_settings().data_dir == REPOSITORY / "data"


def test_a_history_where_easel_was_started_is_still_found(tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Easel took a relative folder from there; one that holds something else is not it."""
    monkeypatch.setenv("EASEL_DATA_DIR", "old-data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old-data").mkdir()
    assert load_settings().data_dir == REPOSITORY / "old-data"
    (tmp_path / "old-data" / "history").mkdir()
    assert load_settings().data_dir == tmp_path / "old-data"
