# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""A front end's way to the desk and to the runners."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RequestCancelledError

from easel.serving.jobs import RunEvent
from easel.serving.ray.desk_actor import find_desk
from easel.serving.ray.fleet import RunnerModels
from easel.serving.ray.messages import ENDED, DeskFacts, Kept, Outlook, Work
from easel.serving.ray.runner import MISROUTED
from easel.serving.ray.trip import Closed, Lost, Misrouted
from pipelines.core.errors import EaselError
from pipelines.models.cache.inventory import Act

logger = logging.getLogger(__name__)
LOOK_S = 1.0
ANSWER_S = 30.0
MODELS_S = 10.0
PATIENCE_S = 60.0  # with a desk that begins anew
AGAIN_S = 0.2
SOON_S = 8.0  # for those who look whether a front end is well
PROBE_S = 2.0  # between two looks whether the cluster is there at all


class Link:
    """Asks the desk, and reads from runners.

    Args:
        app: name of the application.
    """

    def __init__(self, app: str) -> None:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = host.strip("[]"), int(port)
        self._app, self._desk = app, find_desk(app)

    @cached_property
    def _handle(self) -> Any:
        """Serve's way to the runners, which has threads of its own: who asks the desk has none."""
        return serve.get_app_handle(self._app)

    def close(self) -> None:
        """Leave the runners; ask the desk alone from now on.

        Serve is told how many requests there are until then, by a thread that must not meet the
        end of Ray in this process.
        """
        handle = self.__dict__.get("_handle")
        if handle is not None:
            with suppress(Exception):  # Ray and Serve have many
                handle.shutdown()

    def ask(self, method: str, *args: Any) -> Any:
        """What the desk says; see ``Desk``.

        Raises:
            EaselError: it does not answer.
        """
        return self._answer(lambda: self._desk.ask.remote(method, *args))

    def tell(self, method: str, *args: Any) -> None:
        """Tell the desk something, without waiting for it."""
        with suppress(RayError):
            self._desk.ask.remote(method, *args)

    def facts(self, patience_s: float = PATIENCE_S) -> DeskFacts:
        """What the desk knows now.

        Args:
            patience_s: with a desk that does not answer.

        Raises:
            EaselError: it does not.
        """
        return self._answer(lambda: self._desk.ask.remote("facts"), patience_s)

    def look(self, token: str) -> Outlook | None:
        """How a ticket fares, at once or as soon as it changes within a second."""
        return self._answer(lambda: self._desk.look.remote(token, LOOK_S))

    def ended(self, front: str) -> bool:
        """Whether all of a front end is over, at once or within a second."""
        return self._answer(lambda: self._desk.ended.remote(front, LOOK_S))

    def run(self, work: Work, runner: str) -> Answers:
        """Bring work to a runner."""
        return Answers(self._handle.options(stream=True).run.remote(work, runner=runner))

    def models(self, act: Act | None = None, model_id: str = "",
               only: frozenset[str] | None = None) -> list[RunnerModels]:
        """What all runners have of each model, after something was done with one of them.

        Args:
            act: what is done; None for nothing.
            model_id: with which.
            only: runners that do it; None for all.

        Raises:
            EaselError: they do not answer.
        """
        try:
            return self._handle.broadcast("models", act, model_id, only).results(
                timeout_s=MODELS_S)
        except Exception as error:  # Ray and Serve have many
            logger.warning("the runners do not say what models they have: %s",
                           type(error).__name__)
            raise EaselError("The runners of the cluster do not answer: try again in a "
                             "minute.") from None

    def _answer(self, question: Any, patience_s: float = PATIENCE_S) -> Any:
        end_s = time.monotonic() + patience_s
        while True:
            try:
                return self._patiently(question(), min(ANSWER_S, patience_s))
            except RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except (RayActorError, GetTimeoutError):
                self._check_there()
                if time.monotonic() > end_s:
                    raise EaselError("The desk of the cluster does not answer: try again in a "
                                     "minute.") from None
                time.sleep(AGAIN_S)

    def _patiently(self, asked: Any, patience_s: float) -> Any:
        """The answer, for which nobody waits on where the cluster has ended."""
        end_s = time.monotonic() + patience_s
        while True:
            left_s = end_s - time.monotonic()
            try:
                return ray.get(asked, timeout=max(0.0, min(PROBE_S, left_s)))
            except GetTimeoutError:
                if left_s <= PROBE_S:
                    raise
                self._check_there()

    def _check_there(self) -> None:
        """Refuse to wait for a cluster whose head is gone: Ray itself asks for it without end.

        Raises:
            EaselError: it is.
        """
        try:
            socket.create_connection(self._head, PROBE_S).close()
        except ConnectionRefusedError:
            raise EaselError(ENDED) from None
        except OSError:
            return  # the network may be back in a moment


class Answers:
    """What a runner says of some work; to be cancelled where it is not read to its end.

    Args:
        response: Ray's.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    def __iter__(self) -> Iterator[RunEvent | Kept]:
        """Read.

        Raises:
            Lost: the runner was lost meanwhile.
            Misrouted: it is not the one that was meant.
            Closed: it was cancelled.
        """
        try:
            for each in self._response:
                if each == MISROUTED:
                    raise Misrouted
                yield each
        except RequestCancelledError:
            raise Closed from None
        except (Misrouted, Closed):
            raise
        except Exception as error:  # Ray and Serve have many, and all mean that nothing comes
            raise Lost(type(error).__name__) from error

    def cancel(self) -> None:
        """Let the runner hear that nobody reads any more; from any thread."""
        with suppress(Exception):  # it has ended
            self._response.cancel()
