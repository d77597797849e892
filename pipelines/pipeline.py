"""What a generator offers, and what a run of it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from pipelines.checkpointer import Checkpointer
from pipelines.core.errors import Cancelled
from pipelines.core.events import Event, Progress
from pipelines.core.options import Options
from pipelines.core.request import PICTURES, CheckedRequest
from pipelines.model_options import is_ready
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue

T = TypeVar("T", bound=Options)


def _never() -> bool:
    return False


@dataclass(frozen=True)
class RunContext:
    """What a run may use, and how it learns that it should stop.

    Attributes:
        cache: where models are leased.
        device: where to compute.
        dtype: dtype of the models of this run.
        cancelled: True once the user pressed Stop; poll it at every step.
        started_s: ``time.monotonic()`` at the start of the run.
        used_models: ids of the models leased so far.
        waits_s: seconds that each lease waited for its model.
        leases: models that are held until the run ends.
        checkpointer: keeps the state of a run that can be paused, or nothing.
    """

    cache: ModelCache
    device: torch.device
    dtype: torch.dtype = torch.float32
    cancelled: Callable[[], bool] = _never
    started_s: float = field(default_factory=time.monotonic)
    used_models: set[str] = field(default_factory=set)
    waits_s: list[float] = field(default_factory=list)
    leases: ExitStack = field(default_factory=ExitStack)
    checkpointer: Checkpointer = field(default_factory=Checkpointer)

    def check(self) -> None:
        """Raise ``Cancelled`` once the user pressed Stop."""
        if self.cancelled():
            raise Cancelled

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started_s

    @contextmanager
    def lease(self, model_id: str, dtype: torch.dtype | None = None) -> Iterator[Any]:
        """Lease a model in a dtype, the run's own where None; Stop ends the wait for it."""
        self.used_models.add(model_id)
        asked_s = time.monotonic()
        with self.cache.lease(model_id, dtype=dtype or self.dtype,
                              cancelled=self.cancelled) as model:
            self.waits_s.append(time.monotonic() - asked_s)
            yield model

    def loading(self, *model_ids: str, dtype: torch.dtype | None = None) -> Iterator[Progress]:
        """One ``Progress`` for each model that a lease of that dtype would have to load.

        Use it as ``yield from context.loading("embedded/vqgan")`` right before the leases.
        """
        for model_id in model_ids:
            if message := self.cache.loading_message(model_id, dtype=dtype or self.dtype):
                yield Progress(elapsed_s=self.elapsed_s(), message=message)


class Lesson(NamedTuple):
    """How a generator works, in a few sentences that the page unfolds.

    Attributes:
        title: as in "How DALL·E draws".
        text: for people who know neither the paper nor the code.
        paper: authors, year and title; not translated.
    """

    title: str
    text: str
    paper: str


class Preset(NamedTuple):
    """Named settings of a generator.

    Attributes:
        options: those that are not the defaults, by name.
        best_of: how many pictures are drawn to keep the best; 0 for no more than are kept.
    """

    options: Mapping[str, Any] = MappingProxyType({})
    best_of: int = 0


class Pipeline(Protocol):
    """A generator. Subclass it to inherit what has a default.

    Attributes:
        name: what requests call it, lower case.
        title: what people call it.
        summary: one line on what it does.
        lesson: how it works.
        Options: its options.
        former_options: what runs were drawn with that were kept before there was an option, where
            it is not the default.
        auto_by: the options on which it depends what the automatic ones become.
        models: catalogue ids that a run leases.
        default_num_images: how many candidates it draws unless asked for another number.
        accepts_init_image: whether a request may bring an init image.
        accepts_image_prompts: whether it may bring pictures that the result should be like.
        accepts_mask: whether it may bring a mask for its init image.
        draws_variations: whether it then draws that picture afresh, with nothing else asked for.
        tells_stories: whether a prompt may have several parts, drawn one after the other.
        can_pause: whether its runs use the context's checkpointer.
        sides_px: sides of the square pictures that it can be asked for, the usual one first, each
            with the options that make it so; empty where only a run tells.
        presets: named settings, "normal" among them, which is the defaults.
    """

    name: str
    title: str
    summary: str
    lesson: Lesson
    Options: type[Options]
    models: tuple[str, ...]
    former_options: Mapping[str, Any] = MappingProxyType({})
    auto_by: tuple[str, ...] = ()
    default_num_images: int = 4
    accepts_init_image: bool = False
    accepts_image_prompts: bool = False
    accepts_mask: bool = False
    draws_variations: bool = False
    tells_stories: bool = False
    can_pause: bool = False
    sides_px: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
    presets: Mapping[str, Preset] = MappingProxyType({"normal": Preset()})

    def ready(self, catalogue: Catalogue) -> bool:
        """Whether its models are on this machine; until they are, nobody can ask for it."""
        return is_ready(self.Options, self.models, catalogue)

    def shapes_px(self, options: Options | None = None,
                  ) -> Mapping[tuple[int, int], Mapping[str, Any]]:
        """Width and height of the pictures that it can be asked for, those of ``sides_px`` first,
        each with the options that make it so, exactly.

        Args:
            options: the others, resolved; the defaults where None.
        """
        return {(side, side): options for side, options in self.sides_px.items()}

    def accepts(self) -> dict[str, bool]:
        """Which pictures a request may bring, as ``accepts_`` and the request's field."""
        return {name: bool(getattr(self, name)) for name in map("accepts_{}".format, PICTURES)}

    def resolve_options(self, options: T) -> T:
        """The options of a new request with what is "auto" in them decided, to be kept so.

        Raises:
            InvalidRequest: models that are chosen do not belong together.
        """
        return options

    def check_options(self, options: Any) -> None:
        """Raise ``InvalidRequest`` for what the bounds of the options cannot say of them, whatever
        the prompt and the pictures.

        Args:
            options: resolved.
        """

    def check(self, request: CheckedRequest[Any]) -> None:
        """Raise ``InvalidRequest`` for what does not fit together in a request whose options are
        checked."""

    def models_of(self, request: CheckedRequest[Any]) -> tuple[str, ...]:
        """Catalogue ids that the run of a valid request leases."""
        return self.models

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Yield progress and previews, then one ``Result`` as the last event.

        Hold no lock and no grad mode across a ``yield``: the next step may run on another thread.

        Raises:
            Cancelled: the run was stopped and has no picture to keep.
            EaselError: anything else that the user should read.
        """
        ...
