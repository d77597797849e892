"""Commands that measure what the product takes: time, memory, what it keeps."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.arguments import names_in
from benchmarks.cache import cache_figures
from benchmarks.cluster_mixes import embedded_mix, public_mix
from benchmarks.cluster_report import PLOT as SIMULATION_PLOT
from benchmarks.cluster_report import cluster_table, simulation_plot, simulation_tables
from benchmarks.cluster_scales import DESKS, LEAST_RUNS, RUNNERS, simulation_figures
from benchmarks.growth import PARTS, TURNS, growth_figures
from benchmarks.growth import PICTURES as KEPT
from benchmarks.growth_report import PLOT as GROWTH_PLOT
from benchmarks.growth_report import growth_plot, growth_table
from benchmarks.history import PICTURES, history_figures
from benchmarks.load import load_figures
from benchmarks.load_report import PLOT, load_plot, load_table
from benchmarks.loading import MOST_PEAK, loading_figures
from benchmarks.results import RESULTS_DIR, read_results, write_results
from benchmarks.search import search_figures
from benchmarks.speed import rounded, speed
from benchmarks.step import step_figures
from benchmarks.trust_report import kills_line
from easel.serving.backend import LocalBackend
from easel.settings import load_settings
from pipelines.engine import build_cache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.registry import Registry, build_registry

app = typer.Typer()


@app.command("speed")
def speed_command() -> None:
    """Speed of the generators as a share of their bound, start of the page, memory."""
    figures = speed(build_registry(), build_cache(load_settings()))
    write_results(RESULTS_DIR / "speed.json", figures)
    print(json.dumps(figures, indent=1))


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


@app.command("inside")
def inside_command(
    quick: Annotated[bool, typer.Option(
        "--quick", help="One turn, for a look: nothing is written.")] = False,
) -> None:
    """Seconds of each view of Inside, by the page's endpoints."""
    from benchmarks.inside import inside_figures

    figures = rounded(inside_figures(1) if quick else inside_figures())
    if not quick:
        write_results(RESULTS_DIR / "inside.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("prior")
def prior_command() -> None:
    """What the ranker says of unCLIP with its prior and without."""
    from benchmarks.prior import prior_figures

    figures = rounded(prior_figures())
    write_results(RESULTS_DIR / "prior.json", figures)
    print(json.dumps(figures, indent=1))


@app.command("doors")
def doors_command(
    quick: Annotated[bool, typer.Option(
        "--quick", help="Two pictures by each, for a look: nothing is written.")] = False,
) -> None:
    """What each interface costs over a call from Python, in ms."""
    from benchmarks.doors import doors_figures

    figures = rounded(doors_figures(2, 1) if quick else doors_figures())
    if not quick:
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


@app.command("step")
def step_command(
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 2,
) -> None:
    """Seconds and peak memory of a step of VQGAN+CLIP at 256 px with 32 cutouts of ViT-B/32."""
    write_results(RESULTS_DIR / "step.json", rounded(step_figures(threads)))


@app.command("loading")
def loading_command(
    only: Annotated[str, typer.Option(
        help="Models to load, with commas; the others keep their figures.")] = "",
) -> None:
    """Seconds and peak memory of loading public checkpoints of their real sizes."""
    from benchmarks.published import WRITERS  # needs requirements-dev.txt

    if unknown := set(names_in(only)) - WRITERS.keys():
        raise typer.BadParameter(f"there is no checkpoint called {', '.join(sorted(unknown))}")
    path = RESULTS_DIR / "loading.json"
    figures = rounded(loading_figures(names_in(only) or WRITERS))
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


@app.command("growth")
def growth_command(
    pictures: Annotated[str, typer.Option(
        help="Sizes of the histories, with commas.")] = ",".join(map(str, KEPT)),
    turns: Annotated[int, typer.Option(min=1, help="Of the other comparisons.")] = TURNS,
    only: Annotated[str, typer.Option(
        help="Parts to measure, with commas; the others keep their figures.")] = ",".join(PARTS),
) -> None:
    """What more candidates, visitors and kept pictures cost."""
    if unknown := set(names_in(only)) - set(PARTS):
        raise typer.BadParameter(f"there is no part called {', '.join(sorted(unknown))}")
    path = RESULTS_DIR / "growth.json"
    before = read_results(path)
    backend = LocalBackend(build_registry(), build_cache(load_settings()))
    try:
        new = rounded(growth_figures(backend, turns, only=names_in(only), pictures=[
            int(each) for each in names_in(pictures)]))
    finally:
        backend.close()
    figures = {**before, **new, "loads": {**before.get("loads", {}), **new["loads"]}}
    write_results(path, figures)
    if set(PARTS) <= figures.keys():
        growth_plot(figures, RESULTS_DIR / GROWTH_PLOT)  # needs requirements-dev.txt
        print(growth_table(figures))


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


@app.command("cluster")
def cluster_command() -> None:
    """A cluster on this machine: what it adds to a run, how it recovers, what overtaking brings."""
    from benchmarks.cluster import cluster_figures  # needs requirements-ray.txt

    figures = rounded(cluster_figures())
    write_results(RESULTS_DIR / "cluster.json", figures)
    print(cluster_table(figures))
    if figures["recovery"]["lost"]:
        raise typer.Exit(1)


@app.command("simulate")
def simulate_command(
    most: Annotated[int, typer.Option(min=1, help="Runners at most.")] = RUNNERS[-1],
    least_runs: Annotated[int, typer.Option(min=10, help="Of each cluster.")] = LEAST_RUNS,
) -> None:
    """Clusters of one runner to a thousand, by the desk that ships: throughput, waits, price."""
    cluster = read_results(RESULTS_DIR / "cluster.json")
    figures = rounded(simulation_figures(
        (embedded_mix(), public_mix()), [each for each in RUNNERS if each <= most], DESKS,
        max(0.0, cluster.get("overhead_s", 0.0)), cluster.get("desk_processor_s", 0.0),
        least_runs, lambda point: print(json.dumps(rounded(point)), flush=True)))
    write_results(RESULTS_DIR / "cluster_simulation.json", figures)
    simulation_plot(figures, RESULTS_DIR / SIMULATION_PLOT)  # needs requirements-dev.txt
    print(simulation_tables(figures))


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
        output = subprocess.run([sys.executable, "-m", "tests.trust.kills", str(kills), str(seed),
                               str(folder or new)], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
    figures = json.loads(output.splitlines()[-1])
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

    chosen, path = names_in(only) if only else (), RESULTS_DIR / "peers.json"
    if unknown := set(chosen) - COMPARISONS.keys():
        raise typer.BadParameter(f"there is no comparison called {', '.join(sorted(unknown))}")
    figures = peers(turns, chosen, read_results(path), lambda found: write_results(path, found))
    print(json.dumps(figures, indent=1))
