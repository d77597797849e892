"""Commands that measure what the models know, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.models import model_figures
from benchmarks.photographs import photograph_figures, photographs_table
from benchmarks.results import RESULTS_DIR, write_results
from benchmarks.speed import rounded
from benchmarks.words import word_figures
from benchmarks.zero_shot import lab_figures, lab_table
from easel.settings import load_settings
from easel.ui.parts.prompt_note import prompt_reader
from pipelines.engine import build_cache
from pipelines.models.checkpoints.vocabulary import load_vocabulary

app = typer.Typer()


@app.command("models")
def models_command(
    scenes: Annotated[int, typer.Option(min=100, help="Scenes for the CLIPs.")] = 500,
) -> None:
    """PSNR of the VQGAN and how well the CLIPs tell captions apart."""
    figures = model_figures(build_cache(load_settings()), scenes)
    write_results(RESULTS_DIR / "models.json", figures)
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
