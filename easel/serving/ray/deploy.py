# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Start, change and watch the runners of a cluster."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from easel.history.build import open_history
from easel.serving.backend import LocalBackend
from easel.serving.build import local_backend
from easel.serving.ray.desk_actor import start_desk
from easel.serving.ray.messages import Terms
from easel.serving.ray.room import room_for
from easel.serving.ray.runner import Runner
from easel.settings import Settings, load_settings
from pipelines.core.errors import EaselError

ROUTER: Any = "easel.serving.ray.router:DeskRouter"  # which Serve imports wherever it routes
POLICY = "easel.serving.ray.policy:obey"
NAME = "runner"
LONGEST_RUN_S = 900.0  # that a runner which is to end may still take
READY_S = 600.0  # until one more runner has imported torch on a busy machine
ANSWER_S, LOOK_S = 60.0, 0.5
TOLD_S = 1.0  # that Serve is told how many runners there are to be


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
    settings.check_runners()
    terms = replace(terms_of(settings), takes={})  # Kubernetes has machines come as they are needed
    start_desk(settings.ray_app, terms)
    return _runners(settings, backend_of_settings, LONGEST_RUN_S, terms)


def deploy(settings: Settings, make: Callable[[], LocalBackend] = backend_of_settings,
           longest_run_s: float = LONGEST_RUN_S) -> int:
    """Start the desk and the runners, or replace the runners one after the other; wait for them.

    Args:
        settings: how many there are, and the limits of the line.
        make: makes a runner's backend; a function that every process can import.
        longest_run_s: what a runner that is replaced may take to end what it draws.

    Returns:
        How many draw now: fewer than the settings say where the cluster has no room for them. The
        others of the first come as machines join.

    Raises:
        EaselError: there is no room for any, or they do not start.
    """
    terms = terms_of(settings)
    room = room_for(terms.takes)
    if not room:
        cores, accelerators = terms.takes.values()
        raise EaselError("No machine of the cluster has room for a runner, which takes {} cores "
                         "and {} accelerators: see EASEL_THREADS and EASEL_RUNNER_GPUS.",
                         f"{cores:g}", f"{accelerators:g}")
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    desk = start_desk(settings.ray_app, terms)
    ray.get(desk.ask.remote("hold", terms), timeout=ANSWER_S)
    before = _names(desk)
    wanted = min(terms.least, room)
    # Of those that are replaced no more are asked for than there is room: Serve ends no old one
    # while a new one waits for room.
    runners = _runners(settings, make, longest_run_s, terms,
                       min(max(len(before), terms.least), terms.most, room) if before else None)
    serve.run_many([serve.RunTarget(runners, settings.ray_app, None)],
                   wait_for_applications_running=False)
    _await(settings.ray_app, desk, before, wanted, READY_S + (longest_run_s if before else 0))
    return wanted


def _await(app: str, desk: Any, before: set[str], wanted: int, patience_s: float) -> None:
    """Wait until as many runners as are wanted are there that were not before.

    Args:
        patience_s: without one more.
    """
    seen, count, end_s = set(before), 0, time.monotonic() + patience_s
    while (found := len((names := _names(desk)) - before)) < wanted:
        seen |= names
        if found > count:
            count, end_s = found, time.monotonic() + patience_s
        status = serve.status().applications.get(app)
        if status is not None:
            if status.status == "DEPLOY_FAILED":
                raise EaselError("The runners do not start: {}", _last_words(status))
            if _only_stops(status):
                # Those that never began, for want of room: Serve would wait for their end as long
                # as for a run's, and replace none before.
                for name, actor in _replicas(app).items():
                    if name not in seen:
                        ray.kill(actor)
        if time.monotonic() > end_s:
            raise EaselError("The runners do not come: {} of {} are there.", found, wanted)
        time.sleep(LOOK_S)


def _only_stops(status: Any) -> bool:
    states = status.deployments[NAME].replica_states if NAME in status.deployments else {}
    return "STOPPING" in states and not states.keys() & {"STARTING", "UPDATING", "RECOVERING"}


def _last_words(status: Any) -> str:
    """What a runner said that could not start, without the way that it took through the code."""
    said = [each.message for each in status.deployments.values()] + [status.message]
    lines = [line.strip() for text in said for line in text.splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else " ".join(status.message.split())[:300]


def _names(desk: Any) -> set[str]:
    facts = ray.get(desk.ask.remote("facts"), timeout=ANSWER_S)
    return {each.report.runner for each in facts.runners}


def _replicas(app: str) -> dict[str, Any]:
    """The runners that Serve has or waits for, by name."""
    found: dict[str, Any] = {}
    named: Any = ray.util.list_named_actors(all_namespaces=True)
    for each in named:
        if each["name"].startswith(f"SERVE_REPLICA::{app}#{NAME}#"):
            with suppress(ValueError):  # it is gone
                found[each["name"].rpartition("#")[2]] = ray.get_actor(
                    each["name"], namespace=each["namespace"])
    return found


def terms_of(settings: Settings) -> Terms:
    """What settings say of the line and the runners."""
    return Terms(settings.queue_size, settings.user_jobs, settings.minute_s(), settings.runners,
                 settings.max_runners or settings.runners, settings.runner_wait,
                 settings.runner_idle, {
                     "CPU": 0 if settings.runner_gpus else settings.threads or 1,
                     "GPU": settings.runner_gpus}, time.time())


def _runners(settings: Settings, make: Callable[[], LocalBackend], longest_run_s: float,
             terms: Terms, begin: int | None = None) -> serve.Application:
    """The runners, for Serve.

    Args:
        begin: how many there are to be at first; as few as may be where None.
    """
    takes = terms_of(settings).takes
    number: dict[str, Any] = {"num_replicas": begin or terms.least}
    if terms.least < terms.most:
        with warnings.catch_warnings():  # of what is to have another name some day
            warnings.simplefilter("ignore", DeprecationWarning)
            number = {"autoscaling_config": AutoscalingConfig(
                min_replicas=min(terms.least, begin or terms.least), max_replicas=terms.most,
                initial_replicas=begin, metrics_interval_s=TOLD_S,
                # The desk takes its time, and Serve does at once what it is told.
                upscale_delay_s=0, downscale_delay_s=0,
                policy=AutoscalingPolicy(policy_function=POLICY))}
    runner: Any = serve.deployment(
        Runner, name=NAME, max_ongoing_requests=1000, **number,
        ray_actor_options={"num_gpus": takes["GPU"], "num_cpus": takes["CPU"]},
        health_check_period_s=2, health_check_timeout_s=30,
        graceful_shutdown_timeout_s=longest_run_s, graceful_shutdown_wait_loop_s=0.2,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        logging_config={"log_level": "ERROR", "enable_access_log": False})
    return runner.bind(settings.ray_app, make, settings.offline, terms)
