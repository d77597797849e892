"""``benchmarks/RESULTS.md``: tables from the files in ``benchmarks/results``, with remarks."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.cache import cache_table
from benchmarks.cluster_report import cluster_table, simulation_tables
from benchmarks.diversity import diversity_table
from benchmarks.doors import doors_table
from benchmarks.eyes import eyes_table
from benchmarks.growth_report import growth_table
from benchmarks.inside import inside_table
from benchmarks.load_report import load_table
from benchmarks.loading import loading_table
from benchmarks.markdown import cell, share, table
from benchmarks.photographs import photographs_table
from benchmarks.prior import prior_table
from benchmarks.results import RESULTS_DIR, read_results
from benchmarks.step import step_table
from benchmarks.tasks import TASKS
from benchmarks.trust_report import fuzz_table, kills_line
from benchmarks.words import words_table
from benchmarks.zero_shot import lab_table
from pipelines.world.scenes import MEDIA

RESULTS_PATH = Path(__file__).with_name("RESULTS.md")
REMARKS_PATH = Path(__file__).with_name("remarks.toml")
TITLE = """# Results

Written by `python -m benchmarks report` from `benchmarks/results`; do not edit it here, but in
`benchmarks/remarks.toml`."""
GENERATORS = ("dalle", "unclip", "vqgan_clip")
HEADINGS = {"single_object": "single", "two_objects": "two", "counting": "counting",
            "colours": "colours", "position": "position", "attribution": "attribution"}
CONTROLS = {"renders": "true renders (the judge's ceiling)",
            "reconstructed": "renders through the VQGAN (the codes' ceiling)",
            "shuffled": "pictures of other prompts (the floor)"}


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    interval = figures.get("overall_interval95")
    spread = f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""
    return [name, *(share(figures["tasks"].get(task)) for task in TASKS),
            f"**{share(figures['overall'])}**{spread}", share(figures["overall_strict"]),
            share(figures["seen"]), share(figures["held_out"]),
            share(figures["single_object_world"])]


def compose_table(results: Mapping[str, Any]) -> str:
    """Pipelines and controls, one row each, as Markdown."""
    headings = ["", *(HEADINGS[task] for task in TASKS), "overall (95 %)", "strict",
                "seen combinations", "held-out", "all concepts"]
    rows = [_row(name, figures) for name, figures in results.items() if name != "controls"]
    controls = results.get("controls", {})
    rows += [_row(text, controls[name]) for name, text in CONTROLS.items() if name in controls]
    return table(headings, rows)


def best_of_table(results: Mapping[str, Any]) -> str:
    """What choosing one of N pictures brings, as Markdown; empty where nothing was chosen."""
    rows = [[name, n, *(share(row[how]) for how in ("random", "clip", "oracle"))]
            for name, figures in results.items() if name != "controls"
            for n, row in figures["best_of"].items()]
    return table(["", "N", "random", "CLIP-picked", "oracle"], rows) if rows else ""


def variations_table(results: Mapping[str, Any]) -> str:
    """How much pictures of one prompt differ, and what variations keep; empty without figures."""
    rows = []
    for name, figures in results.items():
        kept = figures.get("variations")
        if name != "controls" and (kept or figures.get("diversity") is not None):
            rows.append([name, share(figures.get("diversity")),
                         f"{kept['kept']:.2f} of {kept['pictures']}" if kept else "–"])
    return table(["", "diversity", "variations that keep the object"], rows) if rows else ""


def models_table(results: Mapping[str, Any]) -> str:
    """The models one by one, as Markdown."""
    rows = []
    if "vqgan" in results:
        rows.append(["VQGAN", f"{results['vqgan']['psnr_db']:.1f} dB on unseen scenes"])
    rows += [[f"{name} CLIP", f"right one of 2 hard captions {results[name]['hard_pairs']:.2f}, "
                              f"of 100 random ones {results[name]['top1_of_100']:.2f}"]
             for name in ("ranker", "guide") if name in results]
    return table(["model", "measured"], rows)


def speed_table(results: Mapping[str, Any]) -> str:
    """Speeds, as Markdown."""
    dalle, optimised, app = results["dalle"], results["vqgan_clip"], results["app"]
    rows = [[f"dalle with guidance, {n} picture{'s' * (n > 1)} at once",
             f"{dalle[f'images_{n}']['tokens_per_s']:,.0f} tokens/s",
             share(dalle[f"images_{n}"]["fraction_of_bound"])] for n in (1, 8)]
    rows += [
        ["dalle, four pictures and their ranking", f"{dalle['four_ranked_s']:.1f} s", ""],
        ["vqgan_clip, a step at 128 px with 16 cutouts", f"{optimised['ms_per_step']:.0f} ms",
         share(optimised["fraction_of_bound"])],
        ["page, start to first byte", f"{app['first_byte_s']:.1f} s", ""],
        ["memory at most, while measuring", f"{results['peak_memory_bytes'] / 1e9:.2f} GB", ""]]
    if unclip := results.get("unclip"):
        rows[-2:-2] = [
            ["unclip, four pictures and their ranking", f"{unclip['four_ranked_s']:.1f} s",
             share(unclip["fraction_of_bound"])],
            ["unclip, a step of four guided pictures", f"{unclip['ms_per_step']:.0f} ms", ""],
            ["the same by diffusers' plain loop", f"{unclip['diffusers_ms_per_step']:.0f} ms", ""]]
    return table([str(results["machine"]["cpu"]), "measured", "share of the bound"], rows)


def search_table(results: Mapping[str, Any]) -> str:
    """The search over random vectors, and the indexing of a folder, as Markdown."""
    rows = [[f"{row['vectors']:,}", f"{row['served']['median_ms']:.1f} ms",
             f"{row['plain_numpy']['median_ms']:.1f} ms", f"{row['times_plain_numpy']:.1f}",
             f"{row['recall_at_10']:.3f}"] for row in results["search"]]
    embedding, threads = results["embedding"], results["torch_threads"]
    return table(["vectors", "a query, median", "plain NumPy", "times as fast", "recall@10"],
                  rows) + (f"\n\nA folder of {embedding['pictures']:,} pictures is indexed at "
                           f"{100 * embedding['share']:.0f} % of the CLIP's own rate on {threads} "
                           f"CPU thread{'s' * (threads > 1)}.")


def media_table(results: Mapping[str, Any]) -> str:
    """How often the ranker recognises the medium of a picture, as Markdown: renders, generators."""
    names = list(results)
    media = [medium for medium in results[names[0]] if medium in MEDIA]
    rows = [[medium, *(share(results[name][medium]) for name in names)]
            for medium in [*media, "mean"]]
    heads = [f"{name} ({results[name]['pictures']:,} pictures)" for name in names]
    return table(["medium recognised", *heads], rows)


def languages_table(results: Mapping[str, Any]) -> str:
    """The same prompts in English and in Portuguese, as Markdown."""
    rows = []
    for name, figures in results.items():
        low, high = figures.get("interval95", (None, None))
        spread = f" ({low:+.2f} to {high:+.2f})" if low is not None else ""
        rows.append([name, share(figures["en"]["overall"]), share(figures["pt"]["overall"]),
                     f"{figures['pt_falls_short_by']:+.2f}{spread}"
                     if "pt_falls_short_by" in figures else "", str(figures["en"]["pictures"])])
    return table(["prompts of `compose`", "English", "Portuguese", "falls short by (95 %)",
                   "pictures each"], rows)


def history_line(results: Mapping[str, Any]) -> str:
    """How long a long history takes to show its first page, as a sentence a database."""
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
    return "\n".join(
        f"Among {row['pictures']:,} kept pictures in {names.get(name, name)} the first page takes "
        f"{row['questions']['first page']['median_ms']:.0f} ms at the server, a search for words "
        f"{row['questions']['text']['median_ms']:.0f} ms." for name, row in results.items())


def peers_table(results: Mapping[str, Any]) -> str:
    """Our loops beside other implementations of the same models, in one run each, as Markdown."""
    def times(value: float | None) -> str:
        return "–" if value is None else f"{value:.3g}"

    rows = [[name, times(row["ratio_as_shipped"]), times(row["ratio_same_dtype"]),
             f"{times(row['target_as_shipped'])} and {times(row['target_same_dtype'])}",
             str(row["turns"]), f"{row['machine']['cpu']}, {row['machine']['threads']} thread"]
            for name, row in results.items()
            if isinstance(row, Mapping) and {"ratio_as_shipped", "ratio_same_dtype",
                                             "target_as_shipped"} <= row.keys()]
    return table(["times as fast as the peer", "as shipped", "same dtype", "wanted", "turns",
                   "machine"], rows) if rows else ""


def training_tables(results: Mapping[str, Any]) -> str:
    """What was measured while models were trained, a table each, with how and on what."""
    return "\n\n".join(
        f"### {found['title']}\n\n`{found['command']}`, on {found['machine']}. {found['note']}\n\n"
        + table(found["columns"], [[cell(value) for value in row] for row in found["rows"]])
        for found in results.values())


def outside_table(results: Mapping[str, Any]) -> str:
    """What others measured of the generators, as Markdown: a column each."""
    rows = [[row["what"], *(cell(row[name]) for name in GENERATORS)] for row in results.values()]
    return table(["", *GENERATORS], rows)


def _compose_tables(results: Mapping[str, Any]) -> str:
    tables = compose_table(results), best_of_table(results), variations_table(results)
    return "\n\n".join(filter(None, tables))


# File of results, heading, the module that measures it, where it is one, and how it becomes
# Markdown.
SECTIONS: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("compose", "Do the pictures show what was asked?", "benchmarks compose", _compose_tables),
    ("diversity", "Do the candidates of a prompt differ?", "benchmarks diversity",
     diversity_table),
    ("eyes", "Does the judge agree with eyes?", "benchmarks eyes", eyes_table),
    ("models", "The models one by one", "benchmarks models", models_table),
    ("lab", "CLIP: zero-shot classification and search", "benchmarks lab", lab_table),
    ("photographs", "CLIP: photographs that no training saw", "benchmarks photographs",
     photographs_table),
    ("words", "Words that are near known ones", "benchmarks words", words_table),
    ("media", "Media", "benchmarks media", media_table),
    ("languages", "Portuguese", "benchmarks languages", languages_table),
    ("speed", "Speed", "benchmarks speed", speed_table),
    ("step", "VQGAN+CLIP at the public sizes", "benchmarks step", step_table),
    ("peers", "Beside other implementations", "benchmarks peers", peers_table),
    ("loading", "Loading public checkpoints", "benchmarks loading", loading_table),
    ("cache", "The model cache", "benchmarks cache", cache_table),
    ("search", "Search", "benchmarks search", search_table),
    ("history", "History", "benchmarks history", history_line),
    ("growth", "Growth", "benchmarks growth", growth_table),
    ("load", "Load", "benchmarks load", load_table),
    ("cluster", "A cluster on one machine", "benchmarks cluster", cluster_table),
    ("cluster_simulation", "Clusters of up to 1,000 runners, simulated", "benchmarks simulate",
     simulation_tables),
    ("kills", "Kills", "benchmarks kills", kills_line),
    ("fuzz", "Generated inputs", "tests.trust.fuzz all", fuzz_table),
    ("inside", "Inside", "benchmarks inside", inside_table),
    ("prior", "unCLIP’s prior", "benchmarks prior", prior_table),
    ("doors", "Doors", "benchmarks doors", doors_table),
    ("training", "Training", "", training_tables),
    ("outside", "Measured once, from outside", "", outside_table),
)


def report(folder: Path = RESULTS_DIR, remarks: Mapping[str, str] | None = None) -> str:
    """All tables that there are results for, as Markdown: what RESULTS.md holds below its title.

    Args:
        folder: where the results are.
        remarks: what has to be known to read a table, by the name of its file of results.
    """
    parts = []
    for name, heading, command, render in SECTIONS:
        if results := read_results(folder / f"{name}.json"):
            parts += [f"## {heading}", f"`python -m {command}`" if command else "", render(results),
                      (remarks or {}).get(name, "").strip()]
    return "\n\n".join(part for part in parts if part)


def results_page() -> str:
    """The text of ``benchmarks/RESULTS.md``: every table, with its remarks."""
    remarks = tomllib.loads(REMARKS_PATH.read_text("utf-8"))
    return f"{TITLE}\n\n{report(remarks=remarks)}\n"
