"""Prompts to start from: a few of each kind, and new ones drawn from the world."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable
from html import escape

from easel.words import strings
from easel.words.language import current, say

logger = logging.getLogger(__name__)

# All of them were drawn by the models that ship and looked at; `python -m benchmarks chips` draws
# them again. What was a blob went: most media, things under water, a red bus on the grass.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "Objects": ("a red apple next to a blue car", "a cat and a guitar",
                "a dog right of a chair", "a bicycle below a balloon"),
    "Colours": ("a purple umbrella", "a green car and a yellow bus",
                "a red bicycle", "an orange cat"),
    "Counts": ("two dogs", "three bananas", "four yellow stars", "two red apples"),
    "Places": ("a farmer on the grass", "a fox in the snow", "a black cat at the beach",
               "a penguin in the snow"),
    "Media": ("a watercolor painting of a cat", "a 3d icon of a castle", "a mosaic of a cat",
              "a 3d icon of a guitar"),
    "People": ("an astronaut", "a farmer and a horse", "an astronaut and a cat"),
}


def world_sampler() -> Callable[[], str] | None:
    """A function that says a new prompt of the world in the language of whoever asks.

    None where the world is not installed.

    Building it reads the concepts, a fraction of a second, so it is done once at start.
    """
    try:
        from easel.ui.generate.surprises import surprise
        from pipelines.world.concepts import load_concepts
    except ImportError:
        logger.info("The world's captions are not installed: no surprises.")
        return None
    load_concepts()
    return lambda: surprise(random.Random(secrets.randbits(64)), current())


def render_examples() -> str:
    """Tabs of example prompts; a click on one puts it into the prompt box."""
    tabs, panels = [], []
    for index, (kind, prompts) in enumerate(EXAMPLES.items()):
        chosen = index == 0
        tabs.append(f'<button type="button" role="tab" id="kind-{index}" '
                    f'aria-controls="prompts-{index}" aria-selected="{str(chosen).lower()}" '
                    f'tabindex="{0 if chosen else -1}">{escape(say(kind))}</button>')
        chips = "".join(f'<button type="button" class="chip" data-prompt="{escape(prompt)}">'
                        f"{escape(prompt)}</button>" for prompt in map(say, prompts))
        panels.append(f'<div role="tabpanel" id="prompts-{index}" aria-labelledby="kind-{index}"'
                      f'{"" if chosen else " hidden"}>{chips}</div>')
    return (f'<div class="examples"><p class="caption-label">{escape(strings.EXAMPLES_LABEL)}</p>'
            f'<div role="tablist" aria-label="{escape(strings.EXAMPLES_LABEL)}">{"".join(tabs)}'
            f'</div>{"".join(panels)}</div>')
