"""unCLIP with its prior and without it, from the same noise, as the ranker scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import table
from pipelines.facade import draw

# The four that stand beside the first pictures, the one of the page first, and eight others that
# were written down before any was drawn.
PROMPTS = (
    "a red apple next to a blue car at the beach", "four cats", "an orange cat and a blue umbrella",
    "a giraffe right of a bicycle", "a red apple", "three bananas", "a yellow dog on the grass",
    "a green car and a red umbrella", "a blue boat at the beach", "a horse next to a tree",
    "two orange fish", "a black cat next to a white house")
NUM_IMAGES = 8


def prior_figures(prompts: Sequence[str] = PROMPTS, num_images: int = NUM_IMAGES,
                  seed: int = 0, **options: Any) -> dict[str, Any]:
    """Cosines by the ranker.

    Args:
        prompts: what is drawn.
        num_images: of each, with the prior and without.
        seed: of the first picture of each.
        options: of unCLIP.

    Returns:
        "num_images", "seed", and "prompts": for each prompt "with_prior" and "without_prior", both
        "mean", "least" and "most".
    """
    figures = {}
    for prompt in prompts:
        figures[prompt] = {name: _spread([
            each.scores["clip"] for each in draw(prompt, "unclip", num_images=num_images,
                                                 seed=seed, prior=prior, **options)])
            for name, prior in (("with_prior", True), ("without_prior", False))}
    return {"num_images": num_images, "seed": seed, "prompts": figures}


def _spread(scores: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(scores)), "least": min(scores), "most": max(scores)}


def prior_table(results: Mapping[str, Any]) -> str:
    """A row a prompt, as Markdown, and the mean of all and of all but the first."""
    prompts = results["prompts"]
    ways = ("with_prior", "without_prior")

    def mean(rows: Sequence[Mapping[str, Any]], way: str) -> str:
        return f"{np.mean([row[way]['mean'] for row in rows]):.2f}"

    rows = [[prompt, *(f"{row[way]['mean']:.2f} ({row[way]['least']:.2f}–{row[way]['most']:.2f})"
                       for way in ways)] for prompt, row in prompts.items()]
    found = list(prompts.values())
    rows += [["all", *(mean(found, way) for way in ways)],
             ["all but the first", *(mean(found[1:], way) for way in ways)]]
    return table([f"ranker’s cosine, {results['num_images']} pictures each", "with the prior",
                  "without it"], rows)
