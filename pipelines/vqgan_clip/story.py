"""A story: prompts that VQGAN+CLIP draws one after the other, each out of the one before.

Source: nerdyrodent/VQGAN-CLIP, whose ``^`` this is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.core.errors import InvalidRequest
from pipelines.vqgan_clip.guides import Guide
from pipelines.weighted_prompts import parse_story


class Story:
    """Where a run is in its story. It never goes back, however many steps are asked for later.

    Args:
        parts: of each part the guides; a single part is a prompt like any other.
        steps: of each part; 0 where they share the run's steps.

    Attributes:
        part: index of the one that is drawn.
    """

    def __init__(self, parts: Sequence[Sequence[Guide]], steps: int = 0) -> None:
        self._parts, self._steps = parts, steps
        self.part, self._began = 0, 0

    @property
    def guides(self) -> Sequence[Guide]:
        """Those of the part that is drawn."""
        return self._parts[self.part]

    @property
    def is_last(self) -> bool:
        """Whether no other part follows."""
        return self.part == len(self._parts) - 1

    def goes_on(self, step: int, total: int) -> bool:
        """Be where step 1..total belongs; whether another part begins there."""
        done, count = step - 1 - self._began, len(self._parts)
        planned = done // self._steps if self._steps else done * count // (total - self._began)
        before, self.part = self.part, max(self.part, min(planned, count - 1))
        return self.part > before

    def state(self) -> dict[str, Any]:
        """JSON-ready, for ``restore``."""
        return {"story_part": self.part, "story_began": self._began}

    def restore(self, step: int, facts: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Go back to a ``state`` after ``step`` steps.

        Args:
            step: steps taken.
            facts: of the state; those of a run that knew no stories have nothing of it.
            changes: what is new at this step: another prompt with as many parts goes on at the
                same one, any other begins with its first.

        Raises:
            ValueError: it is the state of another story.
        """
        part, began = int(facts.get("story_part", 0)), int(facts.get("story_began", 0))
        if "prompt" in changes and _count(changes["prompt_before"]) != len(self._parts):
            part, began = 0, step
        if not 0 <= part < len(self._parts) or not 0 <= began <= step:
            raise ValueError("a part of another story")
        self.part, self._began = part, began


def check_story(prompt: str, steps: int, total: int) -> None:
    """Refuse a malformed story, and one whose last part would never begin.

    Args:
        prompt: of the request.
        steps: of each part; 0 where they share the run's steps.
        total: steps of the run.

    Raises:
        InvalidRequest: it is one of these.
    """
    count = len(parse_story(prompt))
    if (count - 1) * max(steps, 1) >= total:
        raise InvalidRequest("A story of {} parts with {} steps each needs more than {} "
                             "iterations.", count, max(steps, 1), total, field="story_steps")


def _count(prompt: str) -> int:
    try:
        return len(parse_story(prompt))
    except InvalidRequest:
        return 0
