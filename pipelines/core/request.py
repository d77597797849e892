"""A request: what one run is asked for, checked before it waits in a queue."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_PROMPT_CHARS = 500
MAX_IMAGES = 16
MAX_PARENTS = 8
SEED_COUNT = 2**32


class Request(BaseModel):
    """One run of one pipeline.

    ``options`` is plain data; a pipeline reads it with ``Options.model_validate(request.options)``
    and finds every option there, since ``Registry.check`` fills in the defaults.
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
        if "\0" in prompt:
            raise ValueError("The prompt holds a NUL character, which no text has.")
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise ValueError("The prompt holds half a character, which no file can store.")
        prompt = prompt.strip()
        if not prompt:
            raise ValueError("The prompt is empty: say what to draw.")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise ValueError(f"The prompt has {len(prompt):,} characters; {MAX_PROMPT_CHARS} is "
                             "the most.")
        return prompt


def resolve_seed(request: Request) -> int:
    """The seed of a request, or a new one from the system's entropy, 0..2**32-1."""
    return secrets.randbelow(SEED_COUNT) if request.seed is None else request.seed


def candidate_seed(seed: int, index: int) -> int:
    """Seed that draws candidate ``index`` of a run with ``seed`` again, alone."""
    return (seed + index) % SEED_COUNT
