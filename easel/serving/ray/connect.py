"""A front end joins a cluster, or says in one sentence why it cannot."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from easel.serving.paused_runs import PausedRuns
from easel.serving.ray.environment import code_digest, is_here, prepare
from easel.serving.ray.node import NOT_TAKEN_IN, OTHER_RAY, check_ray, node_of
from easel.settings import Settings
from pipelines.core.errors import EaselError, reason
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.registry import Registry

if TYPE_CHECKING:
    from easel.serving.ray.backend import RayBackend
    from easel.serving.ray.link import Link
    from easel.serving.ray.messages import DeskFacts

PROBE_S, JOIN_S = 5.0, 120.0


def connected_backend(settings: Settings, registry: Registry, paused: PausedRuns | None,
                      catalogue: Catalogue | None = None) -> RayBackend:
    """The backend of a front end, once it has joined its cluster; see ``RayBackend``.

    Raises:
        EaselError: it cannot.
    """
    link = link_to(settings)
    check_code(link.facts())
    from easel.serving.ray.backend import RayBackend

    return RayBackend(registry, link, paused, catalogue)


def check_code(facts: DeskFacts) -> None:
    """Refuse to speak with other code.

    Args:
        facts: of the cluster's desk.

    Raises:
        EaselError: the cluster runs other code than this process.
    """
    if facts.easel != code_digest():
        raise EaselError("The cluster runs another version of Easel: end it and start it with this "
                         "one.")


@overload
def link_to(settings: Settings) -> Link: ...


@overload
def link_to(settings: Settings, empty: bool) -> Link | None: ...


def link_to(settings: Settings, empty: bool = False) -> Link | None:
    """The way to the desk and the runners, once this process has joined the cluster.

    Args:
        empty: nothing of Easel's need run there; None then.

    Raises:
        EaselError: it cannot, or nothing of Easel's runs there.
    """
    address = join_cluster(settings)
    from easel.serving.ray.link import Link

    try:
        return Link(settings.ray_app)
    except Exception:  # Ray says it in several ways
        if empty:
            return None
        raise EaselError("The cluster at {} draws nothing for Easel yet: start its runners with "
                         "python -m pipelines cluster up.", address) from None


def check_shared(settings: Settings, host: str) -> None:
    """Refuse several machines that would each keep a history of their own.

    Args:
        settings: of this machine.
        host: where the cluster listens.

    Raises:
        EaselError: so it would be.
    """
    if is_here(host):
        return
    if not settings.database_url.get_secret_value().startswith("postgresql"):
        raise EaselError("Several machines share one history: name its PostgreSQL database in "
                         "EASEL_DATABASE_URL, on all of them.")
    if not settings.files_url or settings.files_url.startswith("file:"):
        raise EaselError("Several machines share one history: name a bucket for its pictures in "
                         "EASEL_FILES_URL, on all of them.")


def join_cluster(settings: Settings) -> str:
    """Join the cluster that the settings name, or else the one that was started on this machine.

    Returns:
        Its address.

    Raises:
        EaselError: it is not there, or does not take this process in.
    """
    check_ray()
    folder = settings.data_dir.resolve() / "cluster"
    address = settings.ray_address
    if not address:
        node = node_of(folder)
        if node is None:
            raise EaselError("No cluster runs on this machine: start one with python -m pipelines "
                             "cluster up, or name one in EASEL_RAY_ADDRESS.")
        address = node.address
    host = reach(address, "EASEL_RAY_ADDRESS")
    check_shared(settings, host)
    prepare(folder, host)
    ray: Any = import_module("ray")  # which need not be there to check types

    if not ray.is_initialized():
        _init(ray, address, settings.ray_app)
        import_module("ray.serve")  # which lets its logger speak
        # What is amiss is said in sentences; Serve's own would come each second without a cluster.
        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    return address


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Let this process say nothing on its error stream, its libraries in C++ neither."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def reach(address: str, given: str) -> str:
    """The host of an address at which somebody listens.

    Args:
        address: "host:port".
        given: where it was given, for the sentence.

    Raises:
        EaselError: it is no such address, or nobody listens there.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not (host and port.isdecimal()):
        raise EaselError("{} is not valid: a host and a port such as head:6379, not {!r}.", given,
                         address[:60])
    try:
        socket.create_connection((host, int(port)), PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise EaselError("There is no cluster at {}: {}.", address, reason(error)) from None
    return host


def _init(ray: Any, address: str, app: str) -> None:
    """Let Ray connect, which may take without end where something is amiss."""
    ended, errors = threading.Event(), list[Exception]()

    logging.getLogger("ray").setLevel(logging.ERROR)

    def work() -> None:
        try:
            ray.init(address=address, namespace=app, log_to_driver=False, logging_level="ERROR",
                     configure_logging=False)
        except Exception as error:  # Ray has many kinds
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="join", daemon=True).start()
    with _without_stderr():  # what is amiss is said in a sentence, not in Ray's own many
        in_time = ended.wait(JOIN_S)
    if not in_time:
        raise EaselError("The cluster at {} does not answer.", address)
    if not errors:
        return
    said = str(errors[0])
    if "ersion mismatch" in said:
        raise EaselError(OTHER_RAY, address)
    raise EaselError(NOT_TAKEN_IN, address)
