"""What Ray is told before it is imported, and which code a process of the cluster runs.

It is told by environment variables, each of which an operator may set otherwise: to take
processes for its own only that know the token of the cluster, to stay on this machine's own
address unless another is named, and to tell nobody anything.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path

from pipelines.core.errors import EaselError, reason

HERE = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[3]
TOKEN = "token"


def is_here(host: str) -> bool:
    """Whether an address is this machine's own, which no other reaches."""
    return host in ("", "localhost", "::1") or host.startswith("127.")


def prepare(folder: Path, host: str = HERE) -> None:
    """Set up this process and its children for Ray, before it is imported.

    Args:
        folder: of the cluster, with its token where there is one.
        host: where the cluster listens.
    """
    given = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # or any call after the end would begin a new cluster
        # So long a front end waits for a head that is gone before Ray ends its process.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        "RAY_worker_niceness": "0",  # runners and the desk come before nothing else, but not after
    }
    if "RAY_AUTH_TOKEN" not in os.environ:
        given["RAY_AUTH_TOKEN_PATH"] = str(folder / TOKEN)
    if is_here(host):
        # In spite of its name: else Ray takes the machine's other address for this one, listens
        # there, and a process that was told this one waits without end.
        given["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    for name, value in given.items():
        os.environ.setdefault(name, value)


def make_token(folder: Path) -> None:
    """Write the token of a new cluster, unless there is one.

    Raises:
        EaselError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not has_token(folder):
            _write_token(folder)
    except OSError as error:
        raise EaselError("The cluster's folder cannot be used: {}.", reason(error)) from None


def _write_token(folder: Path) -> None:
    made = folder / f".{TOKEN}.{secrets.token_hex(4)}"
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        made.replace(folder / TOKEN)
    except OSError:
        made.unlink(missing_ok=True)
        raise


def has_token(folder: Path) -> bool:
    """Whether there is a token; a full disk may have left an empty one."""
    with suppress(OSError):
        return (folder / TOKEN).stat().st_size > 0
    return False


@cache
def code_digest() -> str:
    """Names the code of this process: the same on all machines that run the same Easel."""
    digest = hashlib.sha256()
    for package in ("easel", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
