"""``compose``: do the pictures hold what the prompts ask for?

Writes ``benchmarks/results/compose.json``: for each pipeline, and for the controls, the share of
right pictures in each of GenEval's six tasks, their mean, and what choosing among N brings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.controls import render_pools, shuffled_pools
from benchmarks.judge.files import TrainedJudge, load_judge
from benchmarks.pictures import RUNS_DIR, PictureStore, interleaved
from benchmarks.results import read_results, write_results
from benchmarks.scoring import (
    Pool,
    best_of,
    combined,
    interval95,
    overall,
    score,
    task_means,
    worst_concepts,
)
from benchmarks.sheets import contact_sheet
from benchmarks.tasks import TASKS, WORLD_TASK, TaskPrompt, task_prompts, tuning_prompts
from benchmarks.variations import diversity, variations
from easel.serving.backend import LocalBackend
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip import ClipModel
from pipelines.registry import Registry
from pipelines.rerank import rank_candidates
from pipelines.weighted_prompts import ranking_texts
from pipelines.world.concepts import concepts_by_id
from training.data import World

VARIES = ("unclip",)  # pipelines that draw variations of a picture


@dataclass(frozen=True)
class ComposePlan:
    """How much of ``compose`` to run for one pipeline.

    Attributes:
        num_images: pictures a prompt.
        best_of: numbers of pictures to choose one from; those above ``num_images`` are left out.
        tasks: which tasks to draw.
        limit: prompts a task, None for all.
        world_limit: prompts of the task over all concepts, one picture each; None for all.
        minutes: time for drawing, None for no limit; what was drawn is judged anyway.
        options: the pipeline's options, where they differ from the defaults.
    """

    num_images: int = 4
    best_of: tuple[int, ...] = (1, 2, 4, 8, 16)
    tasks: tuple[str, ...] = (*TASKS, WORLD_TASK)
    limit: int | None = None
    world_limit: int | None = None
    minutes: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def prompts(self, everything: Mapping[str, Sequence[TaskPrompt]]) -> list[TaskPrompt]:
        """The prompts to draw, tasks in turn."""
        chosen = {task: everything[task][: self.world_limit if task == WORLD_TASK else self.limit]
                  for task in self.tasks}
        return interleaved(chosen)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def summary(pools: Sequence[Pool], counts: Sequence[int] = ()) -> dict[str, Any]:
    """The figures of a set of pools as they stand in ``compose.json``."""
    six = [p for p in pools if p.prompt.task != WORLD_TASK]
    world = [p for p in pools if p.prompt.task == WORLD_TASK]
    means = task_means(six)
    figures: dict[str, Any] = {
        "tasks": means, "overall": overall(means), "overall_strict": overall(task_means(six, True)),
        "seen": combined(six, held_out=False), "held_out": combined(six, held_out=True),
        "best_of": {str(n): row for n in counts if (row := best_of(six, n)) is not None},
        "overall_interval95": interval95(six), "tasks_strict": task_means(six, strict=True),
        "prompts": {t: n for t in TASKS if (n := sum(p.prompt.task == t for p in six))},
        "pictures": sum(len(p.scores) for p in six),
        "single_object_world": None, "worst_concepts": worst_concepts(pools),
    }
    if world:
        hits = [s.correct for p in world for s in p.scores]
        figures["single_object_world"] = sum(hits) / len(hits)
    return _rounded(figures)


def run_controls(judge: TrainedJudge, world: World, cache: ModelCache | None,
                 limit: int | None = None) -> dict[str, Any]:
    """True renders, reconstructed renders and shuffled captions.

    Args:
        judge: the judge.
        world: draws the renders.
        cache: where the VQGAN is leased; None leaves out the reconstructed renders.
        limit: prompts a task, None for all.
    """
    plan = ComposePlan(limit=limit, world_limit=limit)
    prompts = plan.prompts(task_prompts(world.by_id))
    pools, verdicts = render_pools(prompts, lambda s: world.render(s, 256), judge, world.by_id)
    controls = {"renders": summary(pools),
                "shuffled": summary(shuffled_pools(prompts, verdicts, world.by_id))}
    if cache is not None:
        with cache.lease("embedded/vqgan") as vqgan:
            pools, _ = render_pools(prompts, lambda s: world.render(s, 256), judge, world.by_id,
                                    vqgan)
        controls["reconstructed"] = summary(pools)
    return controls


def judged(store: PictureStore, prompts: Sequence[TaskPrompt], judge: TrainedJudge,
           ranker: ClipModel, num_images: int, sheets: bool = True) -> list[Pool]:
    """Judge and rank the pictures kept for the prompts; with ``sheets``, write one of each task."""
    concepts, pools = concepts_by_id(), []
    cells: dict[str, list[tuple[Any, str, bool]]] = {}
    for prompt in prompts:
        drawn = store.read(prompt)
        if drawn is None:
            continue
        images = drawn.images[: 1 if prompt.task == WORLD_TASK else num_images].copy()
        scores = tuple(score(prompt, v, concepts) for v in judge(torch.from_numpy(images)))
        ranked = rank_candidates(images, [0] * len(images), ranking_texts(prompt.text), ranker)
        ranks = {c.index: c.scores["clip"] for c in ranked}
        pools.append(Pool(prompt, scores, tuple(ranks[i] for i in range(len(images)))))
        cells.setdefault(prompt.task, []).append((drawn.images[0], prompt.text, scores[0].correct))
    for task, sheet in cells.items() if sheets else ():
        contact_sheet(sheet, RUNS_DIR / f"{store.pipeline}-{task}.png")
    return pools


def weights_of(cache: ModelCache, model_ids: Sequence[str]) -> dict[str, str | None]:
    """SHA-256 of the weights by model; a model has none before it is loaded."""
    for model_id in model_ids:
        with cache.lease(model_id):
            pass
    return cache.fingerprints(model_ids)


def run_pipeline(name: str, plan: ComposePlan, judge: TrainedJudge, registry: Registry,
                 backend: LocalBackend) -> dict[str, Any]:
    """Draw what is missing of a pipeline's pictures, judge them, and return its figures."""
    fingerprints = weights_of(backend.cache, registry.get(name).models)
    store = PictureStore(backend, name, plan.options, fingerprints)
    everything = task_prompts(concepts_by_id())
    prompts = plan.prompts(everything)
    store.fill([(p, 1 if p.task == WORLD_TASK else plan.num_images) for p in prompts],
               plan.minutes)
    # Pictures of earlier runs with the same weights and options count as well.
    with backend.cache.lease(RANKER) as ranker:
        pools = judged(store, interleaved(everything), judge, ranker, plan.num_images)
    counts = [n for n in plan.best_of if n <= plan.num_images]
    figures = summary(pools, counts)
    drawn = [d for p in prompts if (d := store.read(p)) is not None]
    pictures = sum(len(d.images) for d in drawn)
    with backend.cache.lease(RANKER) as ranker:
        figures["diversity"] = _rounded(diversity([d.images for d in drawn], ranker))
    if name in VARIES:
        concepts, world = concepts_by_id(), World()
        chosen = everything["single_object"][: plan.limit]
        figures["variations"] = _rounded(variations(
            name, backend, chosen, lambda s: world.render(s, 256), judge, concepts))
    figures |= {"num_images": plan.num_images, "options": dict(plan.options),
                "weights_sha256": fingerprints, "judge_sha256": judge.sha256,
                "seconds_per_picture": round(sum(d.seconds for d in drawn) / max(1, pictures), 3)}
    return figures


def tune(name: str, plan: ComposePlan, registry: Registry, backend: LocalBackend,
         ) -> dict[str, Any]:
    """Task means and overall of one setting of a pipeline on ``tuning_prompts``."""
    fingerprints = weights_of(backend.cache, registry.get(name).models)
    store = PictureStore(backend, name, plan.options, fingerprints, RUNS_DIR / "tuning")
    prompts = plan.prompts(tuning_prompts(concepts_by_id()))
    store.fill([(p, plan.num_images) for p in prompts], plan.minutes)
    with backend.cache.lease(RANKER) as ranker:
        figures = summary(judged(store, prompts, load_judge(), ranker, plan.num_images))
    return {key: figures[key] for key in ("overall", "tasks")}


def compose(plans: Mapping[str, ComposePlan], registry: Registry, backend: LocalBackend,
            results: Path, controls_limit: int | None = None) -> dict[str, Any]:
    """Run the controls and the pipelines; returns and writes all results known so far.

    Args:
        plans: how much to run, by pipeline.
        registry: the pipelines.
        backend: where they run.
        results: the JSON file; what it holds of other pipelines stays.
        controls_limit: prompts a task for the controls.

    Raises:
        FileNotFoundError: the judge was not trained yet.
    """
    judge, world = load_judge(), World()
    found = read_results(results)
    found["controls"] = run_controls(judge, world, backend.cache, controls_limit)
    write_results(results, found)
    for name, plan in plans.items():
        found[name] = run_pipeline(name, plan, judge, registry, backend)
        write_results(results, found)
        print_worst(name, found[name])
    return found


def print_worst(name: str, figures: Mapping[str, Any]) -> None:
    """Print the concepts that a pipeline draws worst."""
    rows = [f"{concept} {share:.2f} of {count}" for concept, share, count in
            figures["worst_concepts"]]
    print(f"{name}, the {len(rows)} worst concepts: " + ", ".join(rows))
    print(json.dumps({k: figures[k] for k in ("tasks", "overall", "best_of")}))
