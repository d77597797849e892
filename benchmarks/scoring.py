"""Whether a picture shows what a prompt asks for, by GenEval's rules, and the figures from that.

Source: Ghosh et al. (2023), section 3.2 and its ``evaluate_images.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.judge.model import Detection, Verdict
from benchmarks.tasks import COMBINED_TASKS, TASKS, TaskPrompt, Wanted, accepts
from pipelines.world.concepts import Concept

MIN_PROBABILITY = 0.5  # below it an object counts as there, but as nothing in particular
POSITION_MARGIN = 0.1  # GenEval's POSITION_THRESHOLD
BOOTSTRAP_ROUNDS = 1000


@dataclass(frozen=True)
class Score:
    """One picture's outcome.

    Attributes:
        correct: everything asked for is there; other objects do not matter, except in counting,
            where the number of the objects asked for must be exact.
        strict: and nothing else is.
        found: for each thing asked for, whether its concept is there at all.
    """

    correct: bool
    strict: bool
    found: tuple[bool, ...]


@dataclass(frozen=True)
class Pool:
    """A prompt's pictures: their scores, in the order of drawing, and the ranker's similarities."""

    prompt: TaskPrompt
    scores: tuple[Score, ...]
    ranks: tuple[float, ...]


def relations_of(first: Detection, second: Detection) -> set[str]:
    """How the first object stands to the second: of "left of", "right of", "above", "below".

    The centres' offset is first cut by a tenth of both sizes, and a direction counts where it
    makes more than half of the offset's length.
    """
    a, b = np.array(first.box).reshape(2, 2), np.array(second.box).reshape(2, 2)
    offset = a.mean(0) - b.mean(0)
    cut = np.maximum(np.abs(offset) - POSITION_MARGIN * ((a[1] - a[0]) + (b[1] - b[0])), 0)
    if np.all(cut < 1e-3):
        return set()
    dx, dy = np.sign(offset) * cut / np.linalg.norm(offset)
    held = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return {name for name, true in held.items() if true}


def has_colour(detection: Detection, colour: str, concepts: Mapping[str, Concept]) -> bool:
    """Whether an object shows a colour; an unpainted one shows that of its kind, if it has one."""
    if detection.colour != "native" or detection.concept is None:
        return detection.colour == colour
    return concepts[detection.concept].native_colour == colour


def _matches(wanted: Wanted, verdict: Verdict, concepts: Mapping[str, Concept]) -> list[Detection]:
    found = [d for d in verdict.detections
             if d.concept is not None and d.probability >= MIN_PROBABILITY
             and accepts(wanted.concept, d.concept, concepts)]
    return sorted(found, key=lambda d: -d.score * d.probability)


def score(prompt: TaskPrompt, verdict: Verdict, concepts: Mapping[str, Concept]) -> Score:
    """Hold what the judge saw against what the prompt asks for."""
    groups = [_matches(wanted, verdict, concepts) for wanted in prompt.wanted]
    correct = True
    for wanted, group in zip(prompt.wanted, groups, strict=True):
        exact = prompt.task == "counting"
        correct &= len(group) == wanted.count if exact else len(group) >= wanted.count
        if wanted.colour is not None:
            correct &= all(has_colour(d, wanted.colour, concepts) for d in group[: wanted.count])
    if prompt.relation is not None and correct:
        correct = prompt.relation in relations_of(groups[0][0], groups[1][0])
    asked = sum(wanted.count for wanted in prompt.wanted)
    return Score(correct, correct and len(verdict.detections) == asked,
                 tuple(bool(group) for group in groups))


def task_means(pools: Sequence[Pool], strict: bool = False) -> dict[str, float]:
    """Share of right pictures by task, for the tasks that have pictures, in [0, 1]."""
    means = {}
    for task in TASKS:
        hits = [s.strict if strict else s.correct
                for pool in pools if pool.prompt.task == task for s in pool.scores]
        if hits:
            means[task] = float(np.mean(hits))
    return means


def overall(means: Mapping[str, float]) -> float | None:
    """Mean of the six tasks; None while one of them has no picture."""
    return float(np.mean([means[t] for t in TASKS])) if all(t in means for t in TASKS) else None


def combined(pools: Sequence[Pool], held_out: bool) -> float | None:
    """Mean over the tasks with combinations, of the held-out or of the seen ones only."""
    chosen = [p for p in pools if p.prompt.task in COMBINED_TASKS and p.prompt.held_out == held_out]
    means = task_means(chosen)
    return float(np.mean(list(means.values()))) if len(means) == len(COMBINED_TASKS) else None


def best_of(pools: Sequence[Pool], count: int) -> dict[str, float] | None:
    """One picture of each ``count``: taken at random, by the ranker, or by one who knows.

    Each pool is cut into runs of ``count`` pictures, so that every picture counts once.

    Returns:
        ``random``, ``clip`` and ``oracle``: means of the six tasks; None where a prompt has fewer
        pictures or a task has none.
    """
    rows: dict[str, dict[str, list[float]]] = {t: {"random": [], "clip": [], "oracle": []}
                                               for t in TASKS}
    for pool in pools:
        if pool.prompt.task not in rows:
            continue
        if len(pool.scores) < count:
            return None
        for start in range(0, len(pool.scores) - count + 1, count):
            hits = [float(s.correct) for s in pool.scores[start : start + count]]
            ranks = pool.ranks[start : start + count]
            row = rows[pool.prompt.task]
            row["random"].append(float(np.mean(hits)))
            row["clip"].append(hits[int(np.argmax(ranks))])
            row["oracle"].append(max(hits))
    if not all(row["random"] for row in rows.values()):
        return None
    return {how: float(np.mean([np.mean(rows[t][how]) for t in TASKS]))
            for how in ("random", "clip", "oracle")}


def interval95(pools: Sequence[Pool]) -> tuple[float, float] | None:
    """95 % interval of ``overall`` by resampling prompts within each task (bootstrap)."""
    by_task = [np.array([np.mean([s.correct for s in p.scores]) for p in pools
                         if p.prompt.task == task and p.scores]) for task in TASKS]
    if any(not len(values) for values in by_task):
        return None
    rng = np.random.default_rng(0)
    rounds = np.mean([rng.choice(values, (BOOTSTRAP_ROUNDS, len(values))).mean(1)
                      for values in by_task], axis=0)
    low, high = np.percentile(rounds, (2.5, 97.5))
    return float(low), float(high)


def worst_concepts(pools: Sequence[Pool], count: int = 20) -> list[tuple[str, float, int]]:
    """The concepts least often seen where they were asked for: id, share in [0, 1], pictures."""
    seen: dict[str, list[bool]] = {}
    for pool in pools:
        for one in pool.scores:
            for wanted, found in zip(pool.prompt.wanted, one.found, strict=True):
                seen.setdefault(wanted.concept, []).append(found)
    rows = [(concept, float(np.mean(hits)), len(hits)) for concept, hits in seen.items()]
    return sorted(rows, key=lambda row: (row[1], -row[2], row[0]))[:count]
