"""The negative prompt: what a picture should not show, for every generator that is guided.

Guidance leads away from what a network expects without the prompt; with a negative prompt it leads
away from what it expects with that. Where nothing is guided there is nothing to lead away from.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_PROMPT_CHARS


def negative_field() -> Any:
    """The option, of the same name in every generator, so that recalled settings fill all."""
    return Field(default="", max_length=MAX_PROMPT_CHARS, title="Negative prompt",
                 description="What should not be there.")


def check_negative(negative_prompt: str, guidance_scale: float) -> None:
    """Refuse a negative prompt that would have no effect.

    Args:
        negative_prompt: of the request; may be empty.
        guidance_scale: of the guidance that would lead away from it.

    Raises:
        InvalidRequest: nothing is guided.
    """
    if negative_prompt.strip() and guidance_scale <= 1:
        raise InvalidRequest("A negative prompt needs a guidance above 1.",
                             field="negative_prompt")
