"""A PostgreSQL server of one's own, from Debian's package, for as long as the tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.served import free_port


def programs() -> Path | None:
    """The folder with ``initdb`` and ``postgres``; None where the package is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def why_not() -> str:
    """Why no server can run here; empty where one can."""
    if programs() is None:
        return "Debian's package postgresql is not installed"
    if os.getuid() == 0 and not _unprivileged():
        return "PostgreSQL does not run as root, and there is no user called postgres"
    return ""


def _unprivileged() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


@contextmanager
def server() -> Iterator[str]:
    """Start a server that only this machine reaches; yields the address of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="easel-postgres-", dir="/tmp"))
    found, port = programs(), free_port()
    assert found is not None
    user = _unprivileged() if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=120, **who)

    data = folder / "data"
    run(str(found / "initdb"), "--pgdata", str(data), "--auth=trust", "--username=easel",
        "--encoding=UTF8", "--no-locale", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    run(str(found / "pg_ctl"), "--pgdata", str(data), "--wait", "--timeout=60", "--options",
        options, "--log", str(folder / "log"), "start")
    try:
        yield f"postgresql://easel@127.0.0.1:{port}/postgres"
    finally:
        run(str(found / "pg_ctl"), "--pgdata", str(data), "--wait", "--mode=immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
