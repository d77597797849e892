"""The generators by name, and the check of requests for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from pipelines.core.errors import InvalidRequest
from pipelines.core.image_metadata import without_metadata
from pipelines.core.images import MAX_BYTES
from pipelines.core.options import SavedOptions, option_fields, parse_options, sentence
from pipelines.core.request import CheckedRequest, Request, fresh_seed, picture_fields
from pipelines.dalle import DallePipeline
from pipelines.flux2 import Flux2Pipeline
from pipelines.janus import JanusPipeline
from pipelines.kandinsky import KandinskyPipeline
from pipelines.min_dalle import MinDallePipeline
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.pipeline import Pipeline
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from pipelines.weighted_prompts import STORY

# In the order in which people see them; a new one needs no other line outside its own file.
GENERATORS = (DallePipeline, VQGANCLIPPipeline, UnclipPipeline, MinDallePipeline, JanusPipeline,
              KandinskyPipeline, Flux2Pipeline)


class Registry:
    """Pipelines by name, in the order of registration; those that had to wait come last."""

    def __init__(self) -> None:
        self._pipelines: dict[str, Pipeline] = {}
        self._waiting: dict[str, tuple[Pipeline, Callable[[], bool]]] = {}

    def register(self, pipeline: Pipeline, ready: Callable[[], bool] = lambda: True) -> None:
        """Add a pipeline.

        Args:
            pipeline: a new one.
            ready: whether its models are here; asked again until they are, and while they are not
                it is as if there were no such pipeline.

        Raises:
            ValueError: if the name is taken.
            TypeError: if an option has no description, no default or no control, or if there is no
                lesson.
        """
        if pipeline.name in self._pipelines or pipeline.name in self._waiting:
            raise ValueError(f"a pipeline called {pipeline.name!r} is registered already")
        option_fields(pipeline.Options)
        if not all(getattr(pipeline, "lesson", ("",))):
            raise TypeError(f"the pipeline {pipeline.name!r} needs a lesson: how it works")
        if ready():
            self._pipelines = {**self._pipelines, pipeline.name: pipeline}
        else:
            self._waiting[pipeline.name] = pipeline, ready

    def waiting(self) -> tuple[Pipeline, ...]:
        """Those whose models are not here yet."""
        self._wake()
        return tuple(pipeline for pipeline, _ in self._waiting.values())

    def _wake(self) -> None:
        for name, (pipeline, ready) in list(self._waiting.items()):
            if ready():
                # A new dictionary: others may be reading the old one.
                self._pipelines = {**self._pipelines, name: pipeline}
                self._waiting.pop(name, None)

    def get(self, name: str) -> Pipeline:
        """The pipeline of that name.

        Raises:
            InvalidRequest: if there is none.
        """
        self._wake()
        try:
            return self._pipelines[name]
        except KeyError:
            known = ", ".join(self._pipelines)
            raise InvalidRequest("There is no generator called {!r}; there are: {}.", name[:40],
                                 known, field="pipeline") from None

    def check(self, raw: Request | Mapping[str, Any], kept: bool = False) -> CheckedRequest[Any]:
        """Check a request whole: its fields, its pipeline's options, its init image.

        Args:
            raw: a request, or its fields by name.
            kept: whether it is that of a run that began earlier, whose options were settled then.

        Returns:
            The request with every option present, and decided where it was "auto", and its seed
            resolved, a new one from the system's entropy where none is asked for.

        Raises:
            InvalidRequest: one sentence about the first fault, with the name of its field.
            InvalidImage: one of its pictures cannot be read.
        """
        request = _fields(raw)
        pipeline = self.get(request.pipeline)
        if STORY in request.prompt and not pipeline.tells_stories:
            raise InvalidRequest("{} tells no stories: leave carets (^) out of the prompt.",
                                 pipeline.title, field="prompt")
        if kept:
            options = parse_options(pipeline.Options,
                                    {**pipeline.former_options, **request.options})
        else:
            options = pipeline.resolve_options(parse_options(pipeline.Options, request.options))
        seed = fresh_seed() if request.seed is None else request.seed
        checked = CheckedRequest(request.pipeline, request.prompt, request.num_images, seed,
                                 options, parents=request.parents, **_pictures(request))
        _check_pictures(checked, pipeline)
        pipeline.check_options(options)
        pipeline.check(checked)
        return checked

    def as_saved(self, raw: Mapping[str, Any]) -> CheckedRequest[Any]:
        """A request of pictures that are here already, by a generator or with options that are not.

        It is there to be looked at; whoever runs it is refused.

        Args:
            raw: its fields by name, with a seed.

        Raises:
            InvalidRequest: one sentence about the first fault of its fields.
        """
        request = _fields(raw)
        return CheckedRequest(request.pipeline, request.prompt, request.num_images,
                              int(raw["seed"]), SavedOptions.model_validate(request.options),
                              **_pictures(request))

    def knows(self, name: str) -> bool:
        """Whether a generator of that name is registered, or ships, so that it may be one day."""
        return (name in self._pipelines or name in self._waiting
                or any(kind.name == name for kind in GENERATORS))

    def names(self) -> tuple[str, ...]:
        """Names in the order of registration."""
        self._wake()
        return tuple(self._pipelines)

    def __iter__(self) -> Iterator[Pipeline]:
        self._wake()
        return iter(self._pipelines.values())


def _fields(raw: Request | Mapping[str, Any]) -> Request:
    """A request's own fields, checked."""
    try:
        return Request.model_validate(raw.model_dump() if isinstance(raw, Request) else dict(raw))
    except ValidationError as error:
        message, name = sentence(error, Request)
        raise InvalidRequest(message, field=name) from None


def _pictures(request: Request) -> dict[str, Any]:
    """Its pictures without what their files tell of whoever took them, since they are handed on."""
    return picture_fields({name: without_metadata(data)
                           for name, data in request.pictures.items()})


def _check_pictures(request: CheckedRequest[Any], pipeline: Pipeline) -> None:
    """Refuse pictures that a generator has no use for, that are too many bytes, or no pictures."""
    if request.init_image is not None and not pipeline.accepts_init_image:
        raise InvalidRequest("{} does not start from a picture.", pipeline.title,
                             field="init_image")
    if request.image_prompts and not pipeline.accepts_image_prompts:
        raise InvalidRequest("{} takes no image prompts.", pipeline.title, field="image_prompts")
    if request.mask is not None and not pipeline.accepts_mask:
        raise InvalidRequest("{} takes no mask.", pipeline.title, field="mask")
    size_bytes = sum(map(len, request.pictures.values()))
    if len(request.pictures) > 1 and size_bytes > MAX_BYTES:
        raise InvalidRequest("The pictures have {:.0f} MB together; {} MB is the most.",
                             size_bytes / 2**20, MAX_BYTES // 2**20, field="image_prompts")
    # Decoded, or refused.
    _ = request.init_pixels, request.image_prompt_pixels, request.mask_pixels


def build_registry(catalogue: Catalogue | None = None) -> Registry:
    """The registry of all pipelines that Easel ships.

    Those that need public checkpoints are in it as soon as such a checkpoint is on this machine.

    Args:
        catalogue: the models to choose from; those of ``assets/catalogue.toml`` where None.

    Raises:
        WeightsError: the catalogue cannot be read.
    """
    catalogue = catalogue or Catalogue.load()
    registry = Registry()
    for kind in GENERATORS:
        pipeline = kind(catalogue)
        registry.register(pipeline, partial(pipeline.ready, catalogue))
    return registry
