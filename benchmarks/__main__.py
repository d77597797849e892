"""``python -m benchmarks`` measures everything; ``python -m benchmarks compose --limit 10`` a part.

Results are written to ``benchmarks/results``; pictures and contact sheets to ``runs/compose``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cache import cache_figures
from benchmarks.chips import chip_figures
from benchmarks.compose import ComposePlan, compose, tune
from benchmarks.diversity import CANDIDATES, PROMPTS, pipeline_diversity
from benchmarks.examples import draw_examples
from benchmarks.eyes import draw_for_eyes, eyes_figures, eyes_table
from benchmarks.history import PICTURES, history_figures
from benchmarks.judge.files import load_judge
from benchmarks.languages import language_figures
from benchmarks.load import load_figures
from benchmarks.load_report import PLOT, load_plot, load_table
from benchmarks.loading import MOST_PEAK, loading_figures
from benchmarks.media import media_figures
from benchmarks.models import model_figures
from benchmarks.photographs import photograph_figures, photographs_table
from benchmarks.report import RESULTS_PATH, compose_table, results_page
from benchmarks.results import RESULTS_DIR, read_results, write_results
from benchmarks.search import search_figures
from benchmarks.speed import rounded, speed
from benchmarks.tasks import TASKS, WORLD_TASK
from benchmarks.trust_report import kills_line
from benchmarks.words import word_figures
from benchmarks.zero_shot import lab_figures, lab_table
from easel.serving.backend import LocalBackend
from easel.serving.build import build_cache, local_backend
from easel.settings import load_settings
from easel.ui.parts.prompt_note import prompt_reader
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import EMBEDDED, RANKER
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.registry import Registry, build_registry

# What `make bench` runs: VQGAN+CLIP takes seconds a picture, and draws much the same of all seeds.
PLANS = {
    "dalle": ComposePlan(num_images=8),
    "unclip": ComposePlan(num_images=8),
    "vqgan_clip": ComposePlan(num_images=1, world_limit=0, minutes=90),
}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  invoke_without_command=True, help="Measure Easel's embedded models.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _options(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``pipeline.option=value`` pairs, by pipeline."""
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        pipeline, dot, option = name.partition(".")
        if not (equals and dot):
            raise typer.BadParameter(f"an option is pipeline.name=value, not {pair!r}")
        found.setdefault(pipeline, {})[option] = value
    return found


@app.callback()
def everything(context: typer.Context) -> None:
    """Without a command: the models one by one, ``compose`` and ``speed``, then RESULTS.md."""
    if context.invoked_subcommand is None:
        models_command()
        names = build_registry().names()
        _compose({name: plan for name, plan in PLANS.items() if name in names})
        speed_command()
        lab_command()
        search_command()
        report_command()


def _compose(plans: dict[str, ComposePlan], controls_limit: int | None = None) -> None:
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
    chosen = _names(tasks)
    if unknown := set(chosen) - {*TASKS, WORLD_TASK}:
        raise typer.BadParameter(f"there is no task called {', '.join(sorted(unknown))}")
    plan = ComposePlan(num_images, tuple(int(n) for n in _names(best_of)), chosen, limit,
                       limit if world_limit is None else world_limit, minutes)
    options = _options(option or [])
    _compose({name: replace(plan, options=options.get(name, {})) for name in _names(pipelines)},
             limit)


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
            chosen = _options(_names(setting)).get(pipeline, {})
            plan = ComposePlan(num_images, tasks=_names(tasks), limit=limit, options=chosen)
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
        for name in _names(pipelines):
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
        for name in _names(pipelines):
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
        for name in _names(pipelines):
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
        found = chip_figures(_names(pipelines), num_images, surprises, backend, load_judge())
    finally:
        backend.close()
    for name, rows in found.items():
        print(f"{name}: {sum(row['best_right'] for row in rows)} of {len(rows)} right")


@app.command("models")
def models_command(
    scenes: Annotated[int, typer.Option(min=100, help="Scenes for the CLIPs.")] = 500,
) -> None:
    """PSNR of the VQGAN and how well the CLIPs tell captions apart."""
    figures = model_figures(build_cache(load_settings()), scenes)
    write_results(RESULTS_DIR / "models.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("eyes")
def eyes_command(
    draw: Annotated[str, typer.Option(
        help="Generators to draw anew, with commas; their labels are then to be made again.")] = "",
    minutes: Annotated[float | None, typer.Option(help="Time for drawing, a generator.")] = None,
    option: Annotated[list[str] | None, typer.Option(
        help="A generator's option as generator.name=value; may be repeated.")] = None,
) -> None:
    """Whether the judge agrees with eyes on pictures of all generators."""
    registry, path = build_registry(), RESULTS_DIR / "eyes.json"
    if draw:
        backend = local_backend(load_settings(), registry)
        try:
            for name in _names(draw):
                options = _options(option or []).get(name, {})
                draw_for_eyes(name, options, minutes, registry, backend)
        finally:
            backend.close()
        return
    with build_cache(load_settings()).lease(RANKER) as ranker:
        figures = rounded(eyes_figures(load_judge(), ranker))
    write_results(path, figures)
    print(eyes_table(figures))


@app.command("speed")
def speed_command() -> None:
    """Speed of the generators as a share of their bound, start of the page, memory."""
    figures = speed(build_registry(), build_cache(load_settings()))
    write_results(RESULTS_DIR / "speed.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("lab")
def lab_command(
    scenes: Annotated[int, typer.Option(min=10, help="Scenes for the retrieval.")] = 1000,
) -> None:
    """Zero-shot accuracy over all concepts and media, and retrieval, of both CLIPs."""
    figures = lab_figures(build_cache(load_settings()), scenes)
    write_results(RESULTS_DIR / "lab.json", figures)
    print(lab_table(figures))


@app.command("photographs")
def photographs_command(
    folder: Annotated[Path, typer.Option(
        help="Where the packages that carry the pictures are kept.")] = Path("runs/photographs"),
) -> None:
    """Photographs and stamps that no training saw, by every embedded CLIP."""
    figures = rounded(photograph_figures(build_cache(load_settings()), folder))
    write_results(RESULTS_DIR / "photographs.json", figures)
    print(photographs_table(figures))


@app.command("words")
def words_command() -> None:
    """Words that are near known ones, and languages, against labels by hand."""
    reader = prompt_reader(load_vocabulary(), build_cache(load_settings()))
    figures = rounded(word_figures(reader))
    write_results(RESULTS_DIR / "words.json", figures)
    print(json.dumps(figures, indent=1, ensure_ascii=False))


@app.command("search")
def search_command() -> None:
    """Speed and recall of the search, and the rate at which a folder is embedded."""
    backend = LocalBackend(Registry(), build_cache(load_settings()))
    try:
        figures = rounded(search_figures(backend))
    finally:
        backend.close()
    write_results(RESULTS_DIR / "search.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("doors")
def doors_command() -> None:
    """What each interface costs over a call from Python, in ms."""
    from benchmarks.doors import doors_figures

    figures = rounded(doors_figures())
    write_results(RESULTS_DIR / "doors.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("cache")
def cache_command() -> None:
    """The model cache: cold load, host to device, resident hit, sixteen threads over six models."""
    settings = load_settings()
    catalogue = Catalogue.load()
    figures = rounded(cache_figures(lambda: build_cache(settings),
                                    [e.id for e in catalogue if e.id.startswith(EMBEDDED)]))
    write_results(RESULTS_DIR / "cache.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("loading")
def loading_command(
    only: Annotated[str, typer.Option(
        help="Models to load, with commas; the others keep their figures.")] = "",
) -> None:
    """Seconds and peak memory of loading public checkpoints of their real sizes."""
    from benchmarks.published import WRITERS  # needs requirements-dev.txt

    if unknown := set(_names(only)) - WRITERS.keys():
        raise typer.BadParameter(f"there is no checkpoint called {', '.join(sorted(unknown))}")
    path = RESULTS_DIR / "loading.json"
    figures = rounded(loading_figures(_names(only) or WRITERS))
    models = {**read_results(path).get("models", {}), **figures["models"]}
    write_results(path, {**figures, "models": {name: models[name] for name in WRITERS
                                               if name in models}})
    most = max(load["peak_share"] for loads in figures["models"].values() for load in loads)
    if most > MOST_PEAK:
        raise typer.Exit(1)


@app.command("history")
def history_command(
    pictures: Annotated[int, typer.Option(min=100, help="How many the history keeps.")] = PICTURES,
    database_url: Annotated[str, typer.Option(
        help="An empty PostgreSQL database; SQLite where there is none.")] = "",
) -> None:
    """The history at the server: pages, filters and one picture among 10,000."""
    figures = history_figures(pictures, database_url)
    path = RESULTS_DIR / "history.json"
    write_results(path, read_results(path) | {figures["database"].partition("+")[0]: figures})
    print(json.dumps(figures, indent=1))
    if figures["questions"]["first page"]["median_ms"] > figures["target_ms"]:
        raise typer.Exit(1)


@app.command("load")
def load_command(
    jobs: Annotated[int, typer.Option(min=1, help="Pictures asked for in all.")] = 500,
    visitors: Annotated[int, typer.Option(min=1, max=250, help="Who ask for them.")] = 50,
    minutes: Annotated[float, typer.Option(help="After which it ends in any case.")] = 60,
) -> None:
    """Many visitors of one server: wait, throughput, and whether anything grows or is lost."""
    figures = load_figures(jobs, visitors, minutes)
    write_results(RESULTS_DIR / "load.json", figures)
    (RESULTS_DIR / PLOT).write_text(load_plot(figures), encoding="utf-8")
    print(load_table(figures))
    if figures["errors"] or figures["lost"]:
        raise typer.Exit(1)


@app.command("kills")
def kills_command(
    kills: Annotated[int, typer.Option(min=1, help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    folder: Annotated[Path | None, typer.Option(
        help="Where they write; what was begun there is gone on with.")] = None,
) -> None:
    """Kill processes that write what a server keeps, and look whether anything finished is lost."""
    # Needs requirements-dev.txt; a process of its own, which may be forked.
    with tempfile.TemporaryDirectory() as new:
        told = subprocess.run([sys.executable, "-m", "tests.trust.kills", str(kills), str(seed),
                               str(folder or new)], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
    figures = json.loads(told.splitlines()[-1])
    write_results(RESULTS_DIR / "kills.json", figures)
    print(kills_line(figures), *figures["faults"], sep="\n")
    if figures["faults"]:
        raise typer.Exit(1)


@app.command("peers")
def peers_command(
    turns: Annotated[int | None, typer.Option(min=1, help="Turns of every comparison.")] = None,
    only: Annotated[str, typer.Option(
        help="Comparisons to make, with commas; the others keep their figures.")] = "",
) -> None:
    """Easel's loops beside min-dalle, a plain VQGAN+CLIP script and plain open_clip."""
    from benchmarks.peers.peers import COMPARISONS, peers  # needs requirements-dev.txt

    chosen, path = _names(only) if only else (), RESULTS_DIR / "peers.json"
    if unknown := set(chosen) - COMPARISONS.keys():
        raise typer.BadParameter(f"there is no comparison called {', '.join(sorted(unknown))}")
    figures = peers(turns, chosen, read_results(path), lambda found: write_results(path, found))
    print(json.dumps(figures, indent=1))


@app.command("report")
def report_command() -> None:
    """Write benchmarks/RESULTS.md from the results."""
    RESULTS_PATH.write_text(results_page(), encoding="utf-8")
    print(f"{RESULTS_PATH.name} is written.")


if __name__ == "__main__":
    app()
