"""The figures in README.md, from the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.markdown import share, table
from benchmarks.report import GENERATORS
from benchmarks.results import RESULTS_DIR, read_results

README_PATH = Path(__file__).parent.parent / "README.md"
_TABLE = re.compile(r"\| figure \| value \|\n(?:\|.*\n)+")


def six_figures() -> str:
    """README's table, as Markdown."""
    diversity, eyes, models, outside, speed, training = (
        read_results(RESULTS_DIR / f"{name}.json")
        for name in ("diversity", "eyes", "models", "outside", "speed", "training"))
    best: dict[str, Any] = eyes["dalle"]["best"]
    rankers = {row[0]: row[1:] for row in training["near_misses"]["rows"]}
    before, *_, now = rankers["all 3,000"]

    def of_all(figures: dict[str, Any]) -> str:
        return ", ".join(share(figures[name]) for name in GENERATORS)

    return table(["figure", "value"], [
        ["pictures that hold what was asked, one each, by eyes: DALL·E, unCLIP, VQGAN+CLIP",
         of_all({name: eyes[name]["right_by_eyes"] for name in GENERATORS})],
        [f"the same of DALL·E, one of {best['of']}: by chance, chosen by CLIP, the best there is",
         f"{share(best['random'])}, {share(best['clip'])}, {share(best['oracle'])}"],
        ["how much eight pictures of a prompt differ, as a share of what true renders differ",
         of_all({**outside["differ"], "dalle": diversity["dalle"]["share"]})],
        ["ranker: right one of two hard captions",
         f"{share(now)} of the wide world's (the ranker before: {share(before)})"],
        ["four ranked pictures by DALL·E",
         f"{speed['dalle']['four_ranked_s']:.1f} s"],
        ["VQGAN's reconstructions of unseen scenes", f"{models['vqgan']['psnr_db']:.1f} dB"]])


def with_figures(readme: str) -> str:
    """README's text with the table as the results have it."""
    return _TABLE.sub(lambda _: six_figures() + "\n", readme, count=1)
