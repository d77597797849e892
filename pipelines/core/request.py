"""A request: what one run is asked for, and what it is once it was checked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipelines.core.errors import InvalidImage
from pipelines.core.images import load_image, load_mask, resize
from pipelines.core.options import Options, number_or_refused
from pipelines.core.sentences import Sentence
from pipelines.core.texts import fault_of

MAX_PROMPT_CHARS = 500
MAX_IMAGES = 16
MAX_PARENTS = 8
MAX_IMAGE_PROMPTS = 4
IMAGE_PROMPT_PX = 512  # longest side of one as it is used: more than a CLIP looks at
INIT_IMAGE, IMAGE_PROMPT, MASK = "init_image", "image_prompt.", "mask"  # names of pictures
PICTURES = (INIT_IMAGE, "image_prompts", MASK)  # fields of a request that hold them
SEED_COUNT = 2**32
OptionsT = TypeVar("OptionsT", bound=Options, covariant=True)


class Request(BaseModel):
    """One run of one pipeline, as it is asked for and as files keep it."""

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
    image_prompts: tuple[bytes, ...] = Field(
        default=(), max_length=MAX_IMAGE_PROMPTS, title="Image prompts", repr=False,
        json_schema_extra={"wanted": "a list of picture files"},
        description="PNG, JPEG or WebP files that the picture should be like.")
    mask: bytes | None = Field(default=None, title="Mask", repr=False,
                               description="PNG, JPEG or WebP file that says what of the init "
                                           "image may change.")
    parents: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")], ...] = Field(
        default=(), max_length=MAX_PARENTS, title="Parents",
        json_schema_extra={"wanted": "ids of kept pictures"},
        description="Ids of kept pictures that this run varies.")

    @field_validator("num_images", "seed", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "seed" and isinstance(value, str) and not value.strip():
            return None
        return number_or_refused(value, cls.model_fields[info.field_name or ""])

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str) -> str:
        if (fault := fault_of(prompt, "The prompt")) is not None:
            raise ValueError(fault)
        prompt = prompt.strip()
        if not prompt:
            raise ValueError("The prompt is empty: say what to draw.")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise ValueError(Sentence("The prompt has {:,} characters; {} is the most.",
                                      len(prompt), MAX_PROMPT_CHARS))
        return prompt

    @property
    def pictures(self) -> dict[str, bytes]:
        """The picture files by name, for whoever keeps them beside the rest."""
        return _pictures(self.init_image, self.image_prompts, self.mask)

    def with_pictures(self, found: Mapping[str, bytes]) -> Request:
        """The same with these pictures in place of its own."""
        return self.model_copy(update=picture_fields(found))


@dataclass(frozen=True)
class CheckedRequest(Generic[OptionsT]):
    """A request that can run as it stands; a ``Registry`` alone makes it.

    Attributes:
        pipeline: name of the pipeline that runs.
        prompt: what to draw.
        num_images: how many candidates to draw.
        seed: start of the random numbers, 0..2**32-1.
        options: every option of the pipeline, an instance of its ``Options``.
        init_image: picture file to start from; None for none.
        image_prompts: picture files that the picture should be like.
        mask: picture file that says what of the init image may change; None for none.
        parents: ids of kept pictures that this run varies.
    """

    pipeline: str
    prompt: str
    num_images: int
    seed: int
    options: OptionsT
    init_image: bytes | None = field(default=None, repr=False)
    parents: tuple[str, ...] = ()
    image_prompts: tuple[bytes, ...] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)

    @property
    def pictures(self) -> dict[str, bytes]:
        """See ``Request.pictures``."""
        return _pictures(self.init_image, self.image_prompts, self.mask)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each candidate."""
        return tuple(candidate_seed(self.seed, index) for index in range(self.num_images))

    @property
    def init_pixels(self) -> np.ndarray | None:
        """The init image (H, W, 3) uint8 RGB, not to be written to; None where there is none.

        Raises:
            InvalidImage: it is not a picture that Easel reads.
        """
        return None if self.init_image is None else decoded(self.init_image)

    @property
    def image_prompt_pixels(self) -> tuple[np.ndarray, ...]:
        """Each image prompt (H, W, 3) uint8 RGB, no larger than it need be; not to be written to.

        Raises:
            InvalidImage: one of them is not a picture that Easel reads.
        """
        found = []
        for number, data in enumerate(self.image_prompts, 1):
            try:
                found.append(_decoded_prompt(data))
            except InvalidImage as error:
                raise InvalidImage("Image prompt {}: {}", number, error,
                                   field="image_prompts") from None
        return tuple(found)

    @property
    def mask_pixels(self) -> np.ndarray | None:
        """The mask (H, W) uint8, see ``load_mask``; not to be written to; None where there is none.

        Raises:
            InvalidImage: it is not a picture that Easel reads.
        """
        if self.mask is None:
            return None
        try:
            return _decoded_mask(self.mask)
        except InvalidImage as error:
            raise InvalidImage("The mask: {}", error, field="mask") from None

    def plain(self) -> Request:
        """The same as plain data, for files."""
        return Request(pipeline=self.pipeline, prompt=self.prompt, num_images=self.num_images,
                       seed=self.seed, options=self.options.model_dump(),
                       init_image=self.init_image, image_prompts=self.image_prompts,
                       mask=self.mask, parents=self.parents)


def picture_fields(found: Mapping[str, bytes]) -> dict[str, Any]:
    """Fields of a request out of picture files by name, as ``Request.pictures`` names them."""
    prompts = sorted(name for name in found if name.startswith(IMAGE_PROMPT))
    return {INIT_IMAGE: found.get(INIT_IMAGE), MASK: found.get(MASK),
            "image_prompts": tuple(found[name] for name in prompts)}


def _pictures(init_image: bytes | None, image_prompts: Sequence[bytes], mask: bytes | None,
              ) -> dict[str, bytes]:
    named = {INIT_IMAGE: init_image, MASK: mask,
             **{f"{IMAGE_PROMPT}{number}": data for number, data in enumerate(image_prompts)}}
    return {name: data for name, data in named.items() if data is not None}


# Uploaded pictures are decoded once for their check, their run and the cells of a sweep. A request
# itself keeps the file alone: decoded, a picture takes up to 75 MB, and requests wait in queues and
# stay with comparisons.
@lru_cache(maxsize=2)
def decoded(data: bytes) -> np.ndarray:
    """See ``load_image``; not to be written to."""
    return load_image(data)


@lru_cache(maxsize=2)
def _decoded_mask(data: bytes) -> np.ndarray:
    return load_mask(data)


@lru_cache(maxsize=2 * MAX_IMAGE_PROMPTS)
def _decoded_prompt(data: bytes) -> np.ndarray:
    image = load_image(data)
    height_px, width_px = (min(side_px, IMAGE_PROMPT_PX) for side_px in image.shape[:2])
    return resize(image, width_px, height_px)


def fresh_seed() -> int:
    """A seed for whoever names none, 0..2**32-1, from the system's entropy."""
    return secrets.randbelow(SEED_COUNT)


def candidate_seed(seed: int, index: int) -> int:
    """Seed that draws candidate ``index`` of a run with ``seed`` again, alone."""
    return (seed + index) % SEED_COUNT
