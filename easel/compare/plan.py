"""What a comparison runs: a request for each pane, checked before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import InvalidRequest
from pipelines.core.request import PICTURES, CheckedRequest, fresh_seed
from pipelines.core.sentences import Sentence

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline
    from pipelines.registry import Registry

MIN_PANES, MAX_PANES = 2, 4
MIN_BUDGET_S, MAX_BUDGET_S = 0.1, 600.0
LETTERS = "ABCD"
PANE_FIELDS = frozenset({"pipeline", "prompt", "num_images", "seed", "options"})


@dataclass(frozen=True)
class Plan:
    """Requests, and the device seconds that each may take.

    Attributes:
        requests: one a pane.
        budget_s: None for as long as each takes.
    """

    requests: tuple[CheckedRequest[Any], ...]
    budget_s: float | None = None

    @property
    def own_prompts(self) -> tuple[str, ...]:
        """Of each request its prompt where that differs from the first one's, else empty."""
        first = self.requests[0].prompt
        return tuple("" if each.prompt == first else each.prompt for each in self.requests)

    @property
    def pictures(self) -> dict[str, bytes]:
        """The picture files that any request was given, by name."""
        return pictures_of(self.requests)


def pictures_of(requests: Iterable[CheckedRequest[Any]]) -> dict[str, bytes]:
    """The picture files that any of some requests was given, by name."""
    return {name: data for request in requests for name, data in request.pictures.items()}


def check_budget(value: Any) -> float | None:
    """A time budget in seconds from outside; None and empty text mean none.

    Raises:
        InvalidRequest: it is no number, or out of bounds.
    """
    if value is None or value == "":
        return None
    message = Sentence("Seconds for each must be a number between {:g} and {:g}.", MIN_BUDGET_S,
                       MAX_BUDGET_S)
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(message, field="budget_s") from None
    if isinstance(value, bool) or not math.isfinite(seconds) \
            or not MIN_BUDGET_S <= seconds <= MAX_BUDGET_S:
        raise InvalidRequest(message, field="budget_s")
    return seconds


def plan_comparison(registry: Registry, prompt: Any, panes: Any, seed: Any = None,
                    budget_s: Any = None, pictures: Mapping[str, Any] | None = None) -> Plan:
    """Check a comparison whole.

    Args:
        registry: the pipelines on offer.
        prompt: what all panes draw that have no prompt of their own.
        panes: two to four objects with "pipeline" and perhaps "prompt", "num_images", "seed",
            "options".
        seed: of every pane that names none; None for a new one, the same for all.
        budget_s: device seconds for each pane, None for no limit.
        pictures: fields of a request that hold pictures, for every pane whose pipeline takes them.

    Raises:
        InvalidRequest: one sentence about the first fault, with the pane where it is.
    """
    if not isinstance(panes, Sequence) or isinstance(panes, str | bytes) \
            or not all(isinstance(pane, Mapping) for pane in panes):
        raise InvalidRequest('Panes must be a list of objects, as in [{"pipeline": "dalle"}].',
                             field="panes")
    if not MIN_PANES <= len(panes) <= MAX_PANES:
        raise InvalidRequest("A comparison has {} to {} panes, not {}.", MIN_PANES, MAX_PANES,
                             len(panes), field="panes")
    if not isinstance(prompt, str):
        raise InvalidRequest("The prompt must be text.", field="prompt")
    if seed in (None, ""):
        seed = fresh_seed()
    names = registry.names()
    shared = share_pictures([registry.get(pane["pipeline"]) if pane.get("pipeline") in names
                             else None for pane in panes], pictures or {})
    requests = [_request(registry, prompt, pane, LETTERS[index], seed, shared[index])
                for index, pane in enumerate(panes)]
    return Plan(tuple(requests), check_budget(budget_s))


def share_pictures(pipelines: Sequence[Pipeline | None], pictures: Mapping[str, Any],
                   ) -> list[dict[str, Any]]:
    """What each of several generators is given of the pictures that all of them were meant to have.

    Args:
        pipelines: one a run; None where there is no such generator.
        pictures: fields of a request that hold pictures.

    Returns:
        For each run the fields that its generator takes. What none takes is the first one's, which
        refuses it, so that nothing is left out without a word.
    """
    given = {name: pictures[name] for name in PICTURES if pictures.get(name)}
    shared: list[dict[str, Any]] = [
        {name: picture for name, picture in given.items()
         if pipeline is not None and getattr(pipeline, f"accepts_{name}")}
        for pipeline in pipelines]
    for name in given.keys() - {name for fields in shared for name in fields}:
        shared[0][name] = given[name]
    return shared


def _request(registry: Registry, prompt: str, pane: Mapping[str, Any], letter: str, seed: Any,
             pictures: Mapping[str, Any]) -> CheckedRequest[Any]:
    if strange := sorted(map(str, set(pane) - PANE_FIELDS)):
        raise InvalidRequest("Pane {} has no field called {!r}; there are: {}.", letter,
                             strange[0][:40], ", ".join(sorted(PANE_FIELDS)), field="panes")
    if not isinstance(options := pane.get("options") or {}, Mapping):
        raise InvalidRequest("The options of pane {} must be an object.", letter, field="options")
    own = pane.get("prompt") not in (None, "")
    fields = {"pipeline": pane.get("pipeline", ""),
              "prompt": pane["prompt"] if own else prompt, "options": dict(options),
              "num_images": pane.get("num_images", 1),
              "seed": seed if pane.get("seed") in (None, "") else pane["seed"], **pictures}
    try:
        return registry.check(fields)
    except InvalidRequest as error:
        if error.field in PICTURES or (error.field == "prompt" and not own):
            raise
        raise InvalidRequest("Pane {}: {}", letter, error, field=error.field) from None
