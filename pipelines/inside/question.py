"""What may be asked of models: plain data, so that a backend elsewhere can answer it as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_PROMPT_CHARS
from pipelines.core.texts import check_text
from pipelines.models.cache.cache import ModelCache

Answer_co = TypeVar("Answer_co", covariant=True)


class Question(Protocol[Answer_co]):
    """Something that models are asked."""

    @property
    def models(self) -> tuple[str, ...]:
        """Ids of the models that answer."""
        ...

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False,
               ) -> Answer_co:
        """Find it out, on the models' device.

        Args:
            models: lends them.
            cancelled: polled on the way.

        Raises:
            Cancelled: ``cancelled`` turned true.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...


def checked_prompt(prompt: object) -> str:
    """A prompt without the blanks around it.

    Raises:
        InvalidRequest: it is no text, empty, too long, or holds what no text may.
    """
    if not isinstance(prompt, str):
        raise InvalidRequest("The prompt must be text.", field="prompt")
    said = check_text(prompt, "The prompt", "prompt").strip()
    if not said:
        raise InvalidRequest("The prompt is empty: say what the picture shows.", field="prompt")
    if len(said) > MAX_PROMPT_CHARS:
        raise InvalidRequest("The prompt has {:,} characters; {} is the most.", len(said),
                             MAX_PROMPT_CHARS, field="prompt")
    return said


def check_whole(value: object, low: int, high: int, title: str, field: str) -> None:
    """Refuse what is no whole number between two.

    Raises:
        InvalidRequest: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest("{} must be a whole number between {} and {}, not {}.", title, low,
                             high, str(value)[:20], field=field)
