# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Start, change and watch the runners of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from easel.history.build import open_history
from easel.serving.backend import LocalBackend
from easel.serving.build import local_backend
from easel.serving.ray.desk_actor import start_desk
from easel.serving.ray.environment import code_digest
from easel.serving.ray.runner import Runner
from easel.settings import Settings, load_settings

ROUTER: Any = "easel.serving.ray.router:DeskRouter"  # which Serve imports wherever it routes
LONGEST_RUN_S = 900.0  # that a runner which is to end may still take


def backend_of_settings() -> LocalBackend:
    """The backend of a runner as its machine's settings say; the desk has the limits."""
    settings = load_settings()
    return local_backend(settings, history=open_history(settings), limits=False)


def application(arguments: Mapping[str, str]) -> serve.Application:
    """The runners as a Serve config names them (``docs/cluster/rayservice.yaml``), and the desk.

    Args:
        arguments: of the config; none is known, since everything is in the settings.
    """
    settings = load_settings()
    _start_desk(settings)
    return _runners(settings, backend_of_settings, LONGEST_RUN_S)


def deploy(settings: Settings, make: Callable[[], LocalBackend] = backend_of_settings,
           longest_run_s: float = LONGEST_RUN_S) -> None:
    """Start the desk and the runners, or replace the runners one after the other.

    Args:
        settings: how many there are, and the limits of the line.
        make: makes a runner's backend; a function that every process can import.
        longest_run_s: what a runner that is replaced may take to end what it draws.
    """
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    _start_desk(settings)
    serve.run(_runners(settings, make, longest_run_s), name=settings.ray_app, route_prefix=None)


def _start_desk(settings: Settings) -> None:
    start_desk(settings.ray_app, {
        "max_waiting": settings.queue_size, "max_per_owner": settings.user_jobs,
        "minute_s": settings.minute_s(), "easel": code_digest()})


def _runners(settings: Settings, make: Callable[[], LocalBackend], longest_run_s: float,
             ) -> serve.Application:
    runner: Any = serve.deployment(
        Runner, name="runner", num_replicas=settings.runners, max_ongoing_requests=1000,
        ray_actor_options={"num_gpus": settings.runner_gpus,
                           "num_cpus": 0 if settings.runner_gpus else settings.threads or 1},
        health_check_period_s=2, health_check_timeout_s=30,
        graceful_shutdown_timeout_s=longest_run_s, graceful_shutdown_wait_loop_s=0.2,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        logging_config={"log_level": "ERROR", "enable_access_log": False})
    return runner.bind(settings.ray_app, make, settings.offline)
