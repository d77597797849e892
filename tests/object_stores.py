"""Object stores of one's own that speak S3, for as long as the tests run.

Neither alone would do: nanio checks signatures, and moto knows conditions. Both are commands of an
environment of their own, which ``make test`` makes: moto asks for packages of other versions than
Easel's.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import pytest

from tests.served import free_port

KINDS = {"nanio": "nanio", "moto": "moto_server"}  # their commands
KEY, SECRET, BUCKET = "easel-key", "easel-secret-of-the-tests", "pictures"
START_S = 120.0
COMMANDS = Path(sys.prefix) / "stores" / "bin"


def why_not(kind: str) -> str:
    """Why a store cannot run here; empty where it can."""
    if find_spec("obstore") is None:
        return "obstore is not installed"
    return "" if _command(kind) else f"there is no command {KINDS[kind]}"


def _command(kind: str) -> str | None:
    """A store's command, of the environment beside this one or else on the path."""
    return shutil.which(KINDS[kind], path=COMMANDS) or shutil.which(KINDS[kind])


class Stores:
    """The servers, each started when it is first asked for, with a bucket."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def url(self, kind: str, environment: pytest.MonkeyPatch, secret: str = SECRET,
            bucket: str = BUCKET) -> str:
        """An address of an empty place in a store, its keys in the environment."""
        if kind not in self._ports:
            self._ports[kind] = self._start(kind)
        for name, value in (("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", secret),
                            ("REGION", "us-east-1"),
                            ("ENDPOINT_URL", f"http://127.0.0.1:{self._ports[kind]}")):
            environment.setenv(f"AWS_{name}", value)
        return f"s3://{bucket}/{secrets.token_hex(4)}"

    def _start(self, kind: str) -> int:
        port, command = free_port(), _command(kind)
        assert command is not None, why_not(kind)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / BUCKET).mkdir()
        arguments = {"nanio": ["serve", "--data-dir", str(folder), "--host", "127.0.0.1", "--port",
                               str(port), "--no-access-log"],
                     "moto": ["-H", "127.0.0.1", "-p", str(port)]}[kind]
        process = subprocess.Popen(
            [command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET})
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        end = time.monotonic() + START_S
        while True:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
                urllib.request.urlopen(request, timeout=10).close()
                return port
            except urllib.error.HTTPError:  # it answers; nanio wants a signature
                return port
            except OSError:
                assert process.poll() is None, f"{kind} has ended"
                assert time.monotonic() < end, f"{kind} does not answer"
                time.sleep(0.05)
