"""What measures unCLIP's prior draws both ways, and the lesson says what it found."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.prior import PROMPTS, prior_figures, prior_table
from easel.words import strings
from easel.words.english.path import PATH_LESSONS


def test_both_ways_are_drawn() -> None:
    found = prior_figures(PROMPTS[:2], 1, prior_steps=1, decoder_steps=1)
    rows = [found["prompts"][prompt] for prompt in PROMPTS[:2]]
    assert all(-1 <= row[way]["least"] <= row[way]["mean"] <= row[way]["most"] <= 1
               for row in rows for way in row)
    assert rows[0]["with_prior"] != rows[0]["without_prior"]
    text = prior_table(found)
    assert text.count("\n") == 1 + 2 + 2
    assert "all but the first" in text


def test_the_lesson_says_what_was_measured(repository: Path) -> None:
    measured = json.loads((repository / "benchmarks/results/prior.json").read_text("utf-8"))
    first = measured["prompts"][strings.FIRST_PROMPT]
    seen = PATH_LESSONS[6][6]
    for way in ("with_prior", "without_prior"):
        assert f"{first[way]['mean']:.2f}" in seen
    others = [row for prompt, row in measured["prompts"].items() if prompt != strings.FIRST_PROMPT]
    assert len(others) == 11
    assert "eleven" in seen
    # As well with it as without: none of them is apart by what the first one is, or near it.
    apart = [abs(row["with_prior"]["mean"] - row["without_prior"]["mean"]) for row in others]
    assert max(apart) < 0.1
