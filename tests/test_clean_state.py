"""What one test leaves behind does not reach the next one."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from pathlib import Path

import pytest
import structlog
import torch
from torch import nn

from easel.serving.logs import configure_logging
from tests.clean_state import clean_state
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
