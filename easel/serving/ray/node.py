"""This machine's part of a cluster: Ray's processes, started and ended by their own ids.

Ray's own ``ray stop`` ends all that anybody runs of it on the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from easel.serving.ray.environment import ROOT, has_token, make_token, prepare
from pipelines.core.errors import EaselError, reason
from pipelines.core.files import atomic_write

RECORD, LOG, LOCK = "node.json", "node.log", "up.lock"
START_S, END_S = 180.0, 60.0
STORE_BYTES = 200 * 2**20  # pictures on their way from runners to front ends; more are spilled
OTHER_RAY = ("The cluster at {} runs another version of Ray or Python than this machine: install "
             "the same on all.")
NOT_TAKEN_IN = ("The cluster at {} does not take this machine in: look whether it has the "
                "cluster's token, which lies in the data folder as cluster/token.")
NO_RAY = "EASEL_BACKEND=ray needs Ray: install what requirements-ray.txt pins."


@dataclass(frozen=True)
class Node:
    """Ray on this machine.

    Attributes:
        address: of the cluster, "host:port".
        pid: of the process that minds Ray's others.
        began: when that process began, in the system's ticks since its start.
        sockets: the folder in which Ray writes; empty where the cluster's head is elsewhere.
    """

    address: str
    pid: int
    began: int
    sockets: str

    def is_alive(self) -> bool:
        """Whether it runs, and no other process has its id meanwhile."""
        return _began(self.pid) == self.began


def check_ray() -> None:
    """Refuse to go on where Ray is not installed.

    Raises:
        EaselError: so it is.
    """
    if find_spec("ray") is None:
        raise EaselError(NO_RAY)


def node_of(folder: Path) -> Node | None:
    """What runs of a cluster on this machine; None for nothing.

    Args:
        folder: of the cluster, in the data folder.
    """
    try:
        node = Node(**json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return node if node.is_alive() else None


@contextmanager
def starting(folder: Path) -> Iterator[None]:
    """Keep others from starting this machine's part of a cluster at the same time: of two, one
    would be forgotten.

    Args:
        folder: of the cluster.

    Raises:
        EaselError: somebody does, or the folder cannot be used.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise EaselError("This machine's part of a cluster is being started already: wait until "
                         "that has ended.") from None
    except OSError as error:
        raise EaselError("The cluster's folder cannot be used: {}.", reason(error)) from None
    try:
        yield
    finally:
        lock.release()


def start_node(folder: Path, host: str, port: int = 0, join: str = "", cpus: int | None = None,
               ) -> Node:
    """Start Ray on this machine.

    Args:
        folder: of the cluster; gets a token where it has none and begins one.
        host: this machine's address for the others, on which Ray listens.
        port: of the head; a free one where 0.
        join: address of the cluster to join; empty to begin one.
        cpus: cores that count; all where None.

    Raises:
        EaselError: it does not start.
    """
    check_ray()
    _check_free(host, 0 if join else port)
    if not join:
        make_token(folder)
    elif "RAY_AUTH_TOKEN" not in os.environ and not has_token(folder):
        raise EaselError(NOT_TAKEN_IN, join)
    prepare(folder, host)
    address = join or f"{host}:{port or _free_port(host)}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
               "--disable-usage-stats", "--include-log-monitor=false",
               f"--node-ip-address={host}", f"--object-store-memory={STORE_BYTES}"]
    # Short, since the path of a socket has 107 letters at most.
    sockets = "" if join else tempfile.mkdtemp(prefix="easel-ray-")
    if cpus is not None:
        command.append(f"--num-cpus={cpus}")
    if join:
        command.append(f"--address={join}")
    else:
        command += ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false",
                    "--no-monitor", f"--temp-dir={sockets}"]
        # The whole cluster ends: there is nowhere for its runners to go.
        os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                       cwd=ROOT, start_new_session=True,
                                       env={**os.environ, "PYTHONPATH": paths})
        node = Node(address, process.pid, _began(process.pid) or 0, sockets)
        try:
            atomic_write(folder / RECORD, json.dumps(asdict(node)).encode())
        except OSError:
            _end(node)  # nobody would know of it
            raise
    except OSError as error:
        if sockets:
            shutil.rmtree(sockets, ignore_errors=True)
        raise EaselError("The cluster's folder cannot be used: {}.", reason(error)) from None
    end_s = time.monotonic() + START_S
    # Ray says so once all its processes of this machine are up.
    while b"This command will now block" not in (said := (folder / LOG).read_bytes()):
        if process.poll() is not None or time.monotonic() > end_s:
            end_node(folder)
            if sockets:
                shutil.rmtree(sockets, ignore_errors=True)
            raise _why(said, join, folder)
        time.sleep(0.1)
    return node


def _check_free(host: str, port: int) -> None:
    """Refuse an address that is not this machine's, or a port that is another's: of either Ray says
    so after a minute, in its own words.

    Raises:
        EaselError: so it is.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        if port:
            raise EaselError("The cluster cannot listen on {}, port {}: {}.", host, port,
                             reason(error)) from None
        raise EaselError("The cluster cannot listen on {}: {}.", host, reason(error)) from None


def _why(said: bytes, join: str, folder: Path) -> EaselError:
    """Why Ray did not start, as far as its log tells."""
    if join and b"ersion mismatch" in said:
        return EaselError(OTHER_RAY, join)
    if join and b"AuthToken" in said:
        return EaselError(NOT_TAKEN_IN, join)
    return EaselError("Ray did not start on this machine; {} has its last words.",
                      str(folder / LOG))


def end_node(folder: Path) -> bool:
    """End Ray on this machine; whether it ran.

    Args:
        folder: of the cluster.
    """
    node = node_of(folder)
    if node is not None:
        _end(node)
        if node.sockets:
            shutil.rmtree(node.sockets, ignore_errors=True)
    (folder / RECORD).unlink(missing_ok=True)
    return node is not None


def _end(node: Node) -> None:
    for number, patience_s in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
        with suppress(ProcessLookupError):
            os.kill(node.pid, number)
        end_s = time.monotonic() + patience_s
        while node.is_alive() and time.monotonic() < end_s:
            with suppress(ChildProcessError):
                os.waitpid(node.pid, os.WNOHANG)
            time.sleep(0.1)
        if not node.is_alive():
            break


def _began(pid: int) -> int | None:
    """When a process began; None where there is none, or only what is left to be waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])  # fields 3 and 22 of proc(5)


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return found.getsockname()[1]
