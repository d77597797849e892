"""What a test may change in its process, and what is put back after it.

Tests run in any order, many in one process: what one of them leaves behind must not decide how the
next one ends.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
import torch

from easel.serving.logs import QUIET

OURS = ("easel.", "pipelines.", "training.", "benchmarks.")

# See easel.guard.origins, easel.guard.call_net, easel.guard.upload_progress and
# easel.guard.sessions.
UPLOADS = "file_upload_statuses"
PATCHED = (("gradio.routes", "CustomCORSMiddleware"), ("gradio.routes", "traceback"),
           ("gradio.routes", UPLOADS), ("gradio.queueing", "traceback"),
           ("gradio.route_utils", "SessionState"))
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def clean_state() -> Iterator[None]:
    """Put everything of this module back when the ``with`` block ends."""
    with ExitStack() as stack:
        for kept in (kept_torch, kept_process, kept_logging, kept_gradio, fresh_accelerate):
            stack.enter_context(kept())
        yield


@contextmanager
def kept_torch() -> Iterator[None]:
    """torch's threads, default dtype and device, grad mode, and how exactly it computes."""
    threads, dtype, device = (torch.get_num_threads(), torch.get_default_dtype(),
                              torch.get_default_device())
    grad, matmul = torch.is_grad_enabled(), torch.get_float32_matmul_precision()
    deterministic = torch.get_deterministic_debug_mode()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:
        torch.set_default_device(device)
    torch.set_grad_enabled(grad)
    torch.set_float32_matmul_precision(matmul)
    torch.set_deterministic_debug_mode(deterministic)


@contextmanager
def kept_process() -> Iterator[None]:
    """The environment, the working folder, and what the signals that end a process do."""
    environment, folder = dict(os.environ), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
    os.chdir(folder)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@contextmanager
def kept_logging() -> Iterator[None]:
    """Where the log goes, what it tells, and what structlog has bound to its lines."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, *QUIET)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.contextvars.clear_contextvars()


@contextmanager
def kept_gradio() -> Iterator[None]:
    """What serving a page changes in Gradio and in uvicorn's log for the whole process.

    Servers outlive a test where a module shares them, so a module keeps this too.
    """
    before = _of_gradio()
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.access")]
    ways = [(each.handlers[:], each.propagate) for each in loggers]
    yield
    for (module, name), now in _of_gradio().items():
        # Imported meanwhile: Gradio's own is what was there.
        if (own := before.get((module, name), own_of_gradio(name))) is not now:
            setattr(sys.modules[module], name, own)
    for each, (handlers, propagate) in zip(loggers, ways, strict=True):
        each.handlers[:], each.propagate = handlers, propagate


def _of_gradio() -> dict[tuple[str, str], Any]:
    """What stands under the names that Easel gives other values, where Gradio is imported."""
    return {(module, name): getattr(sys.modules[module], name)
            for module, name in PATCHED if module in sys.modules}


def own_of_gradio(name: str) -> Any:
    """What Gradio itself has under a name of ``PATCHED``."""
    if name == "traceback":
        return traceback
    if name == "SessionState":
        return sys.modules["gradio.state_holder"].SessionState
    own = sys.modules["gradio.route_utils"]
    return own.FileUploadProgress() if name == UPLOADS else getattr(own, name)


@contextmanager
def kept_constants() -> Iterator[None]:
    """That a module's tests leave the product's constants as they were.

    Raises:
        AssertionError: one has another value: ``monkeypatch`` would have put it back.
    """
    before = _constants()
    yield
    now = _constants()
    changed = sorted(name for name, value in before.items() if now.get(name) is not value)
    assert not changed, f"these tests leave other values in {', '.join(changed)}"


def _constants() -> dict[str, Any]:
    return {f"{name}.{key}": value for name, module in list(sys.modules.items())
            if name.startswith(OURS) for key, value in list(vars(module).items()) if key.isupper()}


@contextmanager
def fresh_accelerate() -> Iterator[None]:
    """No ``Accelerator`` of one test decides about the precision of the next one's.

    They share one state a process, which refuses another precision than its first. accelerate's
    own tests forget it in the same way; where nobody imported it there is nothing to forget.
    """
    yield
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()
