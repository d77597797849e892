"""What every test shares: a clean state, one compute thread, no telemetry, where the repository is.

Tests run in a random order, by a seed that pytest prints; ``make test ARGS=--randomly-seed=SEED``
runs them in that order again, with the same random numbers. ``ARGS=--amx=yes`` lets trainers choose
bfloat16 on a CPU that only emulates it, as they do where it is fast.
"""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

# Before torch, gradio or the hub client is imported: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import certifi
import httpx
import hypothesis
import pytest
import torch

from tests.clean_state import clean_state, kept_constants, kept_gradio
from tests.one_browser import OneBrowser

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = REPOSITORY / "assets" / "weights"
OWN_FOLDER = pytest.StashKey[Path]()
DRIVE_A_BROWSER = pytest.StashKey[set[Path]]()  # modules
PATIENCE_S = 90.0  # with a server on this machine
PEM_END = "-----END CERTIFICATE-----"

# Time decides no test: a machine may be busy with others.
hypothesis.settings.register_profile("easel", deadline=None)
hypothesis.settings.load_profile("easel")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the CPU is taken for."""
    parser.addoption("--amx", choices=("yes", "no"), help=(
        "whether this CPU is said to multiply bfloat16 matrices in tiles, or not at all, of "
        "which trainers and public checkpoints make their choice of precision; by default what is "
        "true of it"))


def pytest_configure(config: pytest.Config) -> None:
    """Nobody's own settings, a folder of this run, and one thread, which beats a fight."""
    for name in [name for name in os.environ if name.startswith("EASEL_")]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):  # whose workers take it over
        own = config.stash[OWN_FOLDER] = Path(tempfile.mkdtemp(prefix="easel-tests-"))
        os.environ["GRADIO_TEMP_DIR"] = str(own / "gradio")
        # Half of what it takes to make a client is reading certificates, none of which is needed.
        first, end, _ = Path(certifi.where()).read_text("utf-8").partition(PEM_END)
        (own / "one.pem").write_text(first + end + "\n", "utf-8")
        os.environ["SSL_CERT_FILE"] = str(own / "one.pem")
    torch.set_num_threads(1)
    # httpx gives a server 5 s unless told otherwise, which a busy machine may need.
    patience = inspect.signature(httpx.get).parameters["timeout"].default
    patience.connect = patience.read = patience.write = patience.pool = PATIENCE_S
    if (amx := config.getoption("--amx")) is not None:
        say_amx(pytest.MonkeyPatch(), amx == "yes")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The folder goes, and what was imported may."""
    gc.unfreeze()  # else extension modules report at the end what they take for leaks
    if (own := config.stash.get(OWN_FOLDER, None)) is not None:
        shutil.rmtree(own, ignore_errors=True)


def say_amx(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Let torch say that this CPU has AMX, or neither it nor AVX-512's product of bfloat16.

    Trainers choose bfloat16 where there is either; the results are alike.
    """
    said = {**torch.cpu.get_capabilities(), "amx_bf16": there}
    if not there:
        said["avx512_bf16"] = False
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """torch's own random numbers, too, are those of the test and of the run's seed."""
    seed = item.config.getoption("randomly_seed", 0)
    torch.manual_seed(crc32(f"{seed}::{item.nodeid}".encode()))


def missing_models(*names: str) -> list[str]:
    """Which embedded models are not in assets/weights.

    Args:
        names: folders in assets/weights, whose models' parts are wanted as well; all embedded
            models where there are none.
    """
    entries = tomllib.loads((WEIGHTS.parent / "catalogue.toml").read_text("utf-8"))["models"]
    parts = {entry["id"].removeprefix("embedded/"): [
        part.removeprefix("embedded/") for part in entry.get("parts", {}).values()]
        for entry in entries}
    names = tuple(dict.fromkeys(each for name in names for each in (name, *parts.get(name, ()))))
    files = {entry["id"].removeprefix("embedded/"): [file["name"] for file in entry["files"]]
             for entry in entries if entry["id"].startswith("embedded/")}
    return [name for name in names or files
            if not all((WEIGHTS / name / file).is_file()
                       for file in files.get(name, ["model.safetensors"]))]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run; share the rest out evenly."""
    no_gpu = pytest.mark.skip(reason="no accelerator on this machine")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        marker = item.get_closest_marker("weights")
        if marker is not None and (missing := missing_models(*marker.args)):
            item.add_marker(pytest.mark.skip(
                reason=f"assets/weights lacks {', '.join(missing)}"))
    long = config.stash[DRIVE_A_BROWSER] = {item.path for item in items
                                            if "browser" in item.keywords}
    if hasattr(config, "workerinput"):
        items[:] = long_modules_first(items, long)


def long_modules_first(items: list[pytest.Item], long: set[Path]) -> list[pytest.Item]:
    """Modules that drive a browser, then the others, both in the order in which they come.

    A worker takes a module at a time. The long ones, which mostly wait, at the end would keep one
    worker busy while the others have nothing left to do.
    """
    return sorted(items, key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """What was imported stays: looking it all through for garbage, time and again, would take a
    twentieth of a core.

    Raises:
        UsageError: Ray is imported, which takes this machine's other address for its own unless it
            was told before (``easel.serving.ray.environment``): every cluster would fail.
    """
    if "ray" in sys.modules:
        raise pytest.UsageError("A module of tests imports Ray before it is told its address.")
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _kept_in_the_process() -> Iterator[None]:
    with kept_constants(), kept_gradio():
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_ray_before_it_is_told(request: pytest.FixtureRequest) -> Iterator[None]:
    """As at collection: who imports Ray without a cluster makes all later clusters fail."""
    before = "ray" in sys.modules
    yield
    with_cluster = any(getattr(value, "__module__", "") == "tests.clusters"
                       for value in vars(request.module).values())
    assert before or with_cluster or "ray" not in sys.modules, "these tests import Ray"


@pytest.fixture(autouse=True)
def _clean_state() -> Iterator[None]:
    with clean_state():
        yield


@pytest.fixture(scope="session")
def one_browser() -> Iterator[OneBrowser]:
    """The browser of this process; modules have it from ``tests.test_browser.browser``."""
    one = OneBrowser()
    yield one
    one.close()


@pytest.fixture(scope="module", autouse=True)
def _no_browser_where_none_is_driven(request: pytest.FixtureRequest,
                                     one_browser: OneBrowser) -> None:
    if request.path not in request.config.stash[DRIVE_A_BROWSER]:
        one_browser.close()


@pytest.fixture(scope="module")
def windows(browser: Any, one_browser: OneBrowser) -> Any:
    """Its windows, a ``tests.windows.Windows``; each module that drives a browser has it."""
    return one_browser.windows()


@pytest.fixture(params=[True, False], ids=["amx", "no-amx"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the CPU multiplies bfloat16, in which trainers then compute, or else in float32."""
    say_amx(monkeypatch, request.param)
    return request.param


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return REPOSITORY


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator with a fixed seed, so that no test touches the global one."""
    return torch.Generator().manual_seed(0)
