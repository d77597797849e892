"""What one test leaves behind does not reach the next one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import torch
from torch import nn

from easel.guard.call_net import log_in_one_way
from easel.guard.origins import answer_for_gradio
from easel.guard.sessions import lighten_lone_calls
from easel.guard.upload_progress import bound_upload_progress
from easel.serving.logs import configure_logging
from tests.clean_state import PATCHED, clean_state, kept_gradio, own_of_gradio
from tests.conftest import pytest_runtest_setup
from training.loop import Loop

CONFIG = {"name": "small", "minutes": 1e-9, "lr": 1e-3}


def test_torch_is_put_back() -> None:
    with clean_state():
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(True)
    assert torch.get_num_threads() == 1
    found = torch.ones(1, requires_grad=True) * 2
    assert (found.dtype, found.device.type, found.requires_grad) == (torch.float32, "cpu", True)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_process_is_put_back(tmp_path: Path) -> None:
    environment, folder = dict(os.environ), Path.cwd()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with clean_state():
        os.environ["EASEL_PORT"] = "1"
        del os.environ["OMP_NUM_THREADS"]
        os.chdir(tmp_path)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert dict(os.environ) == environment
    assert Path.cwd() == folder
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


@pytest.fixture
def own_gradio() -> Iterator[None]:
    """Gradio as it comes: a server that many modules share may have changed it before."""
    with kept_gradio():
        for module, name in PATCHED:
            setattr(sys.modules[module], name, own_of_gradio(name))
        yield


@pytest.mark.usefixtures("own_gradio")
def test_gradio_is_put_back() -> None:
    def patched() -> list[object]:
        return [getattr(sys.modules[module], name) for module, name in PATCHED]

    before = patched()
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.access")]
    ways = [(each.handlers[:], each.propagate) for each in loggers]
    with clean_state():
        logging.getLogger("uvicorn").addHandler(handler := logging.NullHandler())
        answer_for_gradio()
        log_in_one_way()
        bound_upload_progress()
        lighten_lone_calls()
        assert handler not in logging.getLogger("uvicorn").handlers
        changed = patched()
    assert not any(one is other for one, other in zip(before, changed, strict=True))
    assert patched() == before
    assert [(each.handlers, each.propagate) for each in loggers] == ways


def test_gradio_that_a_test_imports_is_put_back_too(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", (
        "import sys; from tests.clean_state import kept_gradio; kept = kept_gradio(); "
        "kept.__enter__(); assert 'gradio' not in sys.modules; "
        "from easel.guard.origins import answer_for_gradio; answer_for_gradio(); "
        "from gradio import route_utils, routes; "
        "assert routes.CustomCORSMiddleware is not route_utils.CustomCORSMiddleware; "
        "kept.__exit__(None, None, None); "
        "assert routes.CustomCORSMiddleware is route_utils.CustomCORSMiddleware")],
        cwd=repository, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_log_is_put_back() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("httpx").level
    with clean_state():
        configure_logging("DEBUG", "json")
        structlog.contextvars.bind_contextvars(job_id="a")
    assert (root.handlers, root.level, logging.getLogger("httpx").level) == before
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("first", ["no", "bf16"])
def test_a_run_of_another_precision_comes_after_another(tmp_path: Path, first: str) -> None:
    for precision in (first, "bf16" if first == "no" else "no"):
        with clean_state():
            loop = Loop(CONFIG | {"mixed_precision": precision}, nn.Linear(2, 2), tmp_path)
            assert loop.accelerator.mixed_precision == precision


def test_nobodys_own_settings_decide() -> None:
    assert not [name for name in os.environ if name.startswith("EASEL_")]
    assert Path(os.environ["GRADIO_TEMP_DIR"]) != Path(tempfile.gettempdir()) / "gradio"


DRAWN: list[float] = []


@pytest.mark.parametrize("draws", [1, 5])
def test_random_numbers_are_the_tests_own(draws: int, request: pytest.FixtureRequest) -> None:
    found = [float(torch.rand(())) for _ in range(draws)]
    assert not set(DRAWN) & set(found)
    DRAWN.extend(found)
    pytest_runtest_setup(request.node)
    assert [float(torch.rand(())) for _ in range(draws)] == found
