"""A request: what one run is asked for, checked before it waits in a queue."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipelines.core.errors import InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.options import parse_options, sentence
from pipelines.core.texts import fault_of

if TYPE_CHECKING:
    from pipelines.registry import Registry

MAX_PROMPT_CHARS = 500
MAX_IMAGES = 16
MAX_PARENTS = 8
SEED_COUNT = 2**32


class Request(BaseModel):
    """One run of one pipeline.

    ``options`` is plain data; a pipeline reads it with ``Options.model_validate(request.options)``
    and finds every option there, since ``validate`` fills in the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pipeline: str = Field(title="Generator", description="Name of the pipeline that runs.")
    prompt: str = Field(title="Prompt", description="What to draw, 1 to 500 characters.")
    num_images: int = Field(default=4, ge=1, le=MAX_IMAGES, title="Number of images",
                            description="How many candidates to draw.")
    seed: int | None = Field(default=None, ge=0, le=SEED_COUNT - 1, title="Seed",
                             description="Start of the random numbers; empty for a new one.")
    options: dict[str, Any] = Field(default_factory=dict, title="Options",
                                    description="Values of the pipeline's own options.")
    init_image: bytes | None = Field(default=None, title="Init image", repr=False,
                                     description="PNG, JPEG or WebP file to start from.")
    parents: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")], ...] = Field(
        default=(), max_length=MAX_PARENTS, title="Parents",
        description="Ids of kept pictures that this run varies.")

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str) -> str:
        if (fault := fault_of(prompt, "The prompt")) is not None:
            raise ValueError(fault)
        prompt = prompt.strip()
        if not prompt:
            raise ValueError("The prompt is empty: say what to draw.")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise ValueError(f"The prompt has {len(prompt):,} characters; {MAX_PROMPT_CHARS} is "
                             "the most.")
        return prompt


def validate(raw: Request | Mapping[str, Any], registry: Registry) -> Request:
    """Check a request whole: its fields, its pipeline's options, its init image.

    Args:
        raw: a request, or its fields by name.
        registry: the pipelines that may be asked for.

    Returns:
        The request with every option present.

    Raises:
        InvalidRequest: one sentence about the first fault, with the name of its field.
        InvalidImage: the init image is not a picture that Easel reads.
    """
    fields = raw.model_dump() if isinstance(raw, Request) else dict(raw)
    try:
        request = Request.model_validate(fields)
    except ValidationError as error:
        message, name = sentence(error, Request)
        raise InvalidRequest(message, name) from None
    pipeline = registry.get(request.pipeline)
    options = parse_options(pipeline.Options, request.options)
    request = request.model_copy(update={"options": options.model_dump()})
    if request.init_image is not None:
        if not pipeline.accepts_init_image:
            raise InvalidRequest(f"{pipeline.title} does not start from a picture.", "init_image")
        load_image(request.init_image)
    pipeline.check(request)
    return request


def resolve_seed(request: Request) -> int:
    """The seed of a request, or a new one from the system's entropy, 0..2**32-1."""
    return secrets.randbelow(SEED_COUNT) if request.seed is None else request.seed


def candidate_seed(seed: int, index: int) -> int:
    """Seed that draws candidate ``index`` of a run with ``seed`` again, alone."""
    return (seed + index) % SEED_COUNT
