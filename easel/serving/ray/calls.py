"""What a front end has runners do for its jobs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from easel.serving.jobs import Job, drawn_elsewhere
from easel.serving.ray.messages import Kept


@dataclass(frozen=True)
class Call:
    """A method of a runner's backend, and its arguments."""

    method: str
    arguments: Mapping[str, Any]


# What is to be done for some jobs of a group, by their indices; the second argument says where a
# lost runner kept the state of the run, None where it kept none.
CallOf = Callable[[Sequence[int], Kept | None], Call]


def always(method: str, **arguments: Any) -> CallOf:
    """The same call, whatever was lost."""
    return lambda left, kept: Call(method, arguments)


def far_job(job_id: str | None, kind: str, about: str = "", models: tuple[str, ...] = (),
            budget_s: float | None = None) -> Job:
    """A job that a runner draws; see ``Job``."""
    return Job(job_id or uuid.uuid4().hex, drawn_elsewhere, kind, about, models, budget_s)
