"""Whether prompts in Portuguese draw as well as the same prompts in English.

Writes ``benchmarks/results/languages.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.compose import ComposePlan, judged, summary, weights_of
from benchmarks.judge.files import TrainedJudge
from benchmarks.pictures import PictureStore
from benchmarks.portuguese import in_portuguese
from benchmarks.scoring import BOOTSTRAP_ROUNDS, Pool
from benchmarks.tasks import TASKS, task_prompts
from easel.serving.backend import LocalBackend
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry
from pipelines.world.concepts import concepts_by_id

FIGURES = ("tasks", "overall", "pictures")


def difference95(first: list[Pool], second: list[Pool]) -> tuple[float, float]:
    """95 % interval of how much more of the first pools is right, a mean of tasks (bootstrap).

    Args:
        first: pools of prompts.
        second: pools of the same prompts in another language, in the same order.
    """
    def hits(pools: list[Pool], task: str) -> np.ndarray:
        return np.array([np.mean([s.correct for s in p.scores]) for p in pools
                         if p.prompt.task == task])

    rng = np.random.default_rng(0)
    rounds = []
    for task in dict.fromkeys(p.prompt.task for p in first):
        gains = hits(first, task) - hits(second, task)
        picks = rng.integers(0, len(gains), (BOOTSTRAP_ROUNDS, len(gains)))
        rounds.append(gains[picks].mean(1))
    low, high = np.percentile(np.mean(rounds, axis=0), [2.5, 97.5])
    return float(low), float(high)


def language_figures(name: str, plan: ComposePlan, judge: TrainedJudge, registry: Registry,
                     backend: LocalBackend) -> dict[str, Any]:
    """Figures of one pipeline by language, and how much the Portuguese ones fall short.

    Args:
        name: the pipeline.
        plan: pictures a prompt, prompts a task, options; ``tasks`` are always the six.
        judge: the judge.
        registry: the pipelines.
        backend: where they run.
    """
    concepts = concepts_by_id()
    fingerprints = weights_of(backend.cache, registry.get(name).models)
    store = PictureStore(backend, name, plan.options, fingerprints)
    everything = task_prompts(concepts)
    english = [p for task in TASKS for p in everything[task][: plan.limit]]
    found: dict[str, Any] = {}
    pools: dict[str, list[Pool]] = {}
    for language, prompts in (("en", english),
                              ("pt", [in_portuguese(p, concepts) for p in english])):
        store.fill([(p, plan.num_images) for p in prompts], plan.minutes)
        with backend.cache.lease(RANKER) as ranker:
            pools[language] = judged(store, prompts, judge, ranker, plan.num_images, sheets=False)
        figures: Mapping[str, Any] = summary(pools[language])
        found[language] = {key: figures[key] for key in FIGURES}
    if len(pools["en"]) == len(pools["pt"]) == len(english):
        low, high = difference95(pools["en"], pools["pt"])
        found["pt_falls_short_by"] = round(found["en"]["overall"] - found["pt"]["overall"], 4)
        found["interval95"] = [round(low, 4), round(high, 4)]
    return found | {"num_images": plan.num_images, "weights_sha256": fingerprints,
                    "judge_sha256": judge.sha256}
