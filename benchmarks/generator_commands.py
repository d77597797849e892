"""Commands that draw with the generators and judge what they draw."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from benchmarks.arguments import names_in, options_in
from benchmarks.chips import chip_figures
from benchmarks.compose import ComposePlan, compose, tune
from benchmarks.diversity import CANDIDATES, PROMPTS, pipeline_diversity
from benchmarks.examples import draw_examples
from benchmarks.eyes import draw_for_eyes, eyes_figures, eyes_table
from benchmarks.judge.files import load_judge
from benchmarks.languages import language_figures
from benchmarks.media import media_figures
from benchmarks.report import compose_table
from benchmarks.results import RESULTS_DIR, read_results, write_results
from benchmarks.speed import rounded
from benchmarks.tasks import TASKS, WORLD_TASK
from easel.serving.build import local_backend
from easel.settings import load_settings
from pipelines.engine import build_cache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import build_registry

app = typer.Typer()


def compose_all(plans: dict[str, ComposePlan], controls_limit: int | None = None) -> None:
    """Run ``compose`` by each generator's plan, keep the figures and show their table."""
    registry = build_registry()
    backend = local_backend(load_settings(), registry)
    try:
        found = compose(plans, registry, backend, RESULTS_DIR / "compose.json", controls_limit)
    finally:
        backend.close()
    print(compose_table(found))


@app.command("compose")
def compose_command(
    pipelines: Annotated[str, typer.Option(
        help="Which to run, with commas; empty for the controls alone.")] = "dalle",
    num_images: Annotated[int, typer.Option(min=1, max=16, help="Pictures a prompt.")] = 4,
    best_of: Annotated[str, typer.Option(
        help="Numbers of pictures to choose one from.")] = "1,2,4,8,16",
    tasks: Annotated[str, typer.Option(help="Which tasks to draw.")] = ",".join(
        (*TASKS, WORLD_TASK)),
    limit: Annotated[int | None, typer.Option(help="Prompts a task, for a quick look.")] = None,
    world_limit: Annotated[int | None, typer.Option(
        help="Prompts of the task over all concepts.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for drawing, a pipeline.")] = None,
    option: Annotated[list[str] | None, typer.Option(
        help="A pipeline's option as pipeline.name=value; may be repeated.")] = None,
) -> None:
    """Whether pictures hold what prompts ask for, by the judge."""
    chosen = names_in(tasks)
    if unknown := set(chosen) - {*TASKS, WORLD_TASK}:
        raise typer.BadParameter(f"there is no task called {', '.join(sorted(unknown))}")
    plan = ComposePlan(num_images, tuple(int(n) for n in names_in(best_of)), chosen, limit,
                       limit if world_limit is None else world_limit, minutes)
    options = options_in(option or [])
    compose_all({name: replace(plan, options=options.get(name, {}))
                 for name in names_in(pipelines)}, limit)


@app.command("tune")
def tune_command(
    option: Annotated[list[str], typer.Option(
        help="Options of one setting, with commas, as dalle.temperature=0.5,dalle.guidance=2; "
             "repeated for each setting.")],
    pipeline: Annotated[str, typer.Option(help="Which to draw with.")] = "dalle",
    limit: Annotated[int, typer.Option(min=1, help="Prompts a task.")] = 12,
    num_images: Annotated[int, typer.Option(min=1, max=16, help="Pictures a prompt.")] = 1,
    tasks: Annotated[str, typer.Option(help="Which tasks to draw.")] = ",".join(TASKS),
) -> None:
    """Compare settings on prompts that ``compose`` does not ask; writes no results."""
    registry = build_registry()
    backend = local_backend(load_settings(), registry)
    try:
        for setting in option:
            chosen = options_in(names_in(setting)).get(pipeline, {})
            plan = ComposePlan(num_images, tasks=names_in(tasks), limit=limit, options=chosen)
            figures = tune(pipeline, plan, registry, backend)
            print(json.dumps({"options": chosen} | figures), flush=True)
    finally:
        backend.close()


@app.command("languages")
def languages_command(
    pipelines: Annotated[str, typer.Option(help="Which to draw with, with commas.")] = "dalle",
    num_images: Annotated[int, typer.Option(min=1, max=16, help="Pictures a prompt.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Prompts a task.")] = None,
) -> None:
    """Prompts of ``compose`` in Portuguese beside the same ones in English."""
    registry, judge = build_registry(), load_judge()
    backend = local_backend(load_settings(), registry)
    path = RESULTS_DIR / "languages.json"
    try:
        for name in names_in(pipelines):
            figures = language_figures(name, ComposePlan(num_images, limit=limit), judge, registry,
                                       backend)
            write_results(path, read_results(path) | {name: figures})
            print(json.dumps({name: figures}, indent=1), flush=True)
    finally:
        backend.close()


@app.command("media")
def media_command(
    things: Annotated[list[str] | None, typer.Option(
        help="How many things a pipeline draws in each medium, as dalle=24; may be repeated.",
    )] = None,
) -> None:
    """Whether the ranker recognises the medium that a prompt asks for."""
    registry = build_registry()
    backend = local_backend(load_settings(), registry)
    path = RESULTS_DIR / "media.json"
    counts = {name: int(count) for name, _, count in
              (part.partition("=") for part in things or ["dalle=24"])}
    try:
        figures = media_figures(counts, registry, backend)
    finally:
        backend.close()
    write_results(path, read_results(path) | figures)
    print(json.dumps(figures, indent=1))


@app.command("diversity")
def diversity_command(
    pipelines: Annotated[str, typer.Option(help="Which to draw with, with commas.")] = "dalle",
    prompts: Annotated[int, typer.Option(min=1, help="How many prompts.")] = PROMPTS,
    num_images: Annotated[int, typer.Option(min=2, max=8, help="Pictures a prompt.")] = CANDIDATES,
    minutes: Annotated[float | None, typer.Option(help="Time for drawing, a pipeline.")] = None,
) -> None:
    """How much the candidates of a prompt differ, as a share of true renders of it."""
    registry, path = build_registry(), RESULTS_DIR / "diversity.json"
    backend = local_backend(load_settings(), registry)
    try:
        for name in names_in(pipelines):
            figures = pipeline_diversity(name, prompts, num_images, minutes, registry, backend)
            write_results(path, read_results(path) | {name: figures})
            print(json.dumps({name: figures}, indent=1), flush=True)
    finally:
        backend.close()


@app.command("examples")
def examples_command(
    pipelines: Annotated[str, typer.Option(help="Which to draw with, with commas.")] = "dalle",
) -> None:
    """Draw the fixed page of 64 prompts of each generator, to look at."""
    registry = build_registry()
    backend = local_backend(load_settings(), registry)
    try:
        for name in names_in(pipelines):
            print(draw_examples(name, backend))
    finally:
        backend.close()


@app.command("chips")
def chips_command(
    pipelines: Annotated[str, typer.Option(help="Which to draw with, with commas.")] = "dalle",
    num_images: Annotated[int, typer.Option(min=1, max=16, help="Pictures a prompt.")] = 4,
    surprises: Annotated[int, typer.Option(min=0, help="How many surprises besides.")] = 24,
) -> None:
    """Draw every prompt that the page offers, judge it, and lay it out to be looked at."""
    backend = local_backend(load_settings(), build_registry())
    try:
        found = chip_figures(names_in(pipelines), num_images, surprises, backend, load_judge())
    finally:
        backend.close()
    for name, rows in found.items():
        print(f"{name}: {sum(row['best_right'] for row in rows)} of {len(rows)} right")


@app.command("eyes")
def eyes_command(
    draw: Annotated[str, typer.Option(
        help="Generators to draw anew, with commas; their labels are then to be made again.")] = "",
    minutes: Annotated[float | None, typer.Option(help="Time for drawing, a generator.")] = None,
    of: Annotated[int, typer.Option(min=1, max=16, help="Pictures a prompt to draw.")] = 1,
    option: Annotated[list[str] | None, typer.Option(
        help="A generator's option as generator.name=value; may be repeated.")] = None,
) -> None:
    """Whether the judge agrees with eyes on pictures of all generators."""
    registry, path = build_registry(), RESULTS_DIR / "eyes.json"
    if draw:
        backend = local_backend(load_settings(), registry)
        try:
            for name in names_in(draw):
                options = options_in(option or []).get(name, {})
                draw_for_eyes(name, options, minutes, registry, backend, of=of)
        finally:
            backend.close()
        return
    with build_cache(load_settings()).lease(RANKER) as ranker:
        figures = rounded(eyes_figures(load_judge(), ranker))
    write_results(path, figures)
    print(eyes_table(figures))
