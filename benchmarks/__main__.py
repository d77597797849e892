"""``python -m benchmarks`` measures everything; ``python -m benchmarks compose --limit 10`` a part.

Results are written to ``benchmarks/results``; pictures and contact sheets to ``runs/compose``.
"""

from __future__ import annotations

import typer

from benchmarks.compose import ComposePlan
from benchmarks.generator_commands import app as generator_commands
from benchmarks.generator_commands import compose_all
from benchmarks.model_commands import app as model_commands
from benchmarks.model_commands import lab_command, models_command
from benchmarks.product_commands import app as product_commands
from benchmarks.product_commands import search_command, speed_command
from benchmarks.readme import README_PATH, with_figures
from benchmarks.report import RESULTS_PATH, results_page
from pipelines.registry import build_registry

# What `make bench` runs: VQGAN+CLIP takes seconds a picture, and draws much the same of all seeds.
PLANS = {
    "dalle": ComposePlan(num_images=8),
    "unclip": ComposePlan(num_images=8),
    "vqgan_clip": ComposePlan(num_images=1, world_limit=0, minutes=90),
}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  invoke_without_command=True, help="Measure Easel's embedded models.")


@app.callback()
def everything(context: typer.Context) -> None:
    """Without a command: the models one by one, ``compose`` and ``speed``, then RESULTS.md."""
    if context.invoked_subcommand is None:
        models_command()
        names = build_registry().names()
        compose_all({name: plan for name, plan in PLANS.items() if name in names})
        speed_command()
        lab_command()
        search_command()
        report_command()


@app.command("report")
def report_command() -> None:
    """Write benchmarks/RESULTS.md, and the table in README.md, from the results."""
    RESULTS_PATH.write_text(results_page(), encoding="utf-8")
    README_PATH.write_text(with_figures(README_PATH.read_text("utf-8")), encoding="utf-8")
    print(f"{RESULTS_PATH.name} and {README_PATH.name} are written.")


app.add_typer(generator_commands)
app.add_typer(model_commands)
app.add_typer(product_commands)

if __name__ == "__main__":
    app()
