"""Paused runs without a browser: ``python -m pipelines runs list`` and its like."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from easel.cli.backend import opened_backend
from easel.cli.given import LETTERS_FOR_GOOD, finite, first_letters
from easel.cli.output import AsJson, print_json
from easel.history.days import write_moment
from easel.history.records import LOCAL
from easel.settings import load_settings
from pipelines.core.errors import PausedRunError
from pipelines.core.new_files import check_place

if TYPE_CHECKING:
    from easel.cli.run import Outcome
    from easel.serving.interface import Backend
    from easel.serving.paused_runs import PausedRuns

EXIT_STOPPED = 130
PICTURES = "The pictures"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                  help="List, continue, branch and delete paused runs of vqgan_clip.")

RunId = Annotated[str, typer.Argument(help="Id of the run, or its first letters.")]
Prompt = Annotated[str | None, typer.Option(help="Prompt from here on, weights among it.")]
Iterations = Annotated[int | None, typer.Option(help="Steps in all, those before among them.")]
Seed = Annotated[int | None, typer.Option(help="Start the random numbers anew.")]
Noise = Annotated[float, typer.Option(
    parser=finite, help="Noise for the latents, as a share of half of their range.")]
PauseAfter = Annotated[int | None, typer.Option(min=1, help="Steps after which to pause again.")]
Video = Annotated[bool, typer.Option(
    "--video", help="Write an mp4 of how the pictures came about as well.")]
Out = Annotated[Path, typer.Option(help="Folder for the pictures.")]


@app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """List paused runs, the newest first."""
    with _opened_runs(context) as runs:
        found = runs.of(LOCAL)
    if as_json:
        print_json([run.public() for run in found])
        return
    for run in found:
        when = write_moment(run.saved_s)
        what = run.fault or f"step {run.step} of {run.total}  {run.prompt}"
        typer.echo(f"{run.run_id}  {when}  {what}")
    if not found:
        typer.echo("There are no paused runs.", err=True)


@app.command("resume")
def resume_command(context: typer.Context, run_id: RunId, prompt: Prompt = None,
                   iterations: Iterations = None, seed: Seed = None, noise: Noise = 0.0,
                   pause_after: PauseAfter = None, video: Video = False,
                   out: Out = Path("out"), as_json: AsJson = False) -> None:
    """Let a paused run go on to its end, changed where options say so."""
    _resume(context, run_id, (prompt, iterations, seed, noise), False, pause_after,
            video, out, as_json)


@app.command("branch")
def branch_command(context: typer.Context, run_id: RunId, prompt: Prompt = None,
                   iterations: Iterations = None, seed: Seed = None, noise: Noise = 0.0,
                   pause_after: PauseAfter = None, video: Video = False,
                   out: Out = Path("out"), as_json: AsJson = False) -> None:
    """Begin another run from the state of a paused one, which stays paused."""
    _resume(context, run_id, (prompt, iterations, seed, noise), True, pause_after,
            video, out, as_json)


@app.command("delete")
def delete_command(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(
        help=f"Id of the run, or {LETTERS_FOR_GOOD} or more of its first letters.")],
    as_json: AsJson = False,
) -> None:
    """Delete a paused run for good."""
    with _opened_runs(context) as runs:
        whole = _full(runs, run_id, LETTERS_FOR_GOOD)
        runs.delete(LOCAL, whole)
    if as_json:
        print_json({"deleted": whole})


def _resume(context: typer.Context, run_id: str, change: tuple[Any, ...], branch: bool,
            pause_after: int | None, video: bool, out: Path, as_json: bool) -> None:
    check_place(out, PICTURES)
    from pipelines.saved_run import checked_changes

    changes = checked_changes(*change)
    with opened_backend(context) as backend:
        from easel.cli.run import write_pictures

        whole = run_id if backend.paused is None else _full(backend.paused, run_id)
        job_id = uuid.uuid4().hex
        events = backend.resume(LOCAL, whole, changes, branch, pause_after, job_id)
        outcome = write_pictures(events, job_id, out, backend, video)
    print_outcome(context, outcome, as_json)


def print_outcome(context: typer.Context, outcome: Outcome, as_json: bool = False) -> None:
    """Say what became of a run, and exit with 130 where it was stopped."""
    if as_json:
        print_json(_plain(outcome))
        if outcome.stopped:
            raise typer.Exit(EXIT_STOPPED)
        return
    for rank, (path, metadata) in enumerate(outcome.pictures, start=1):
        scores = "  ".join(f"{name} {value:.3f}" for name, value in metadata["scores"].items())
        equal = (f"  (the same picture as of seed {metadata['equal_to_seed']})"
                 if "equal_to_seed" in metadata else "")
        typer.echo(f"{rank:2}  seed {metadata['seed']:<10}  {scores}  {path}{equal}")
    if outcome.video is not None:
        typer.echo(str(outcome.video))
    if outcome.notice:
        typer.echo(outcome.notice, err=True)
    if outcome.paused is not None:
        typer.echo(f"{outcome.paused} Go on by `{context.find_root().info_name} runs resume "
                   f"{outcome.paused.run_id}`.")
    if outcome.stopped:
        kept = "what was finished is kept" if outcome.pictures else "no picture was finished"
        typer.echo(f"Stopped; {kept}.", err=True)
        raise typer.Exit(EXIT_STOPPED)


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {"pictures": [{"path": path, "seed": facts["seed"], "scores": dict(facts["scores"]),
                          "facts": dict(facts)} for path, facts in outcome.pictures],
            "stopped": outcome.stopped, "video": outcome.video, "notice": outcome.notice,
            "paused": None if outcome.paused is None else {
                "run_id": outcome.paused.run_id, "step": outcome.paused.step,
                "total": outcome.paused.total}}


@contextmanager
def _opened_runs(context: typer.Context) -> Iterator[PausedRuns]:
    backend: Backend | None = context.obj
    if backend is not None and backend.paused is not None:
        yield backend.paused
        return
    from easel.history.build import open_history
    from easel.serving.build import open_paused_runs

    settings = load_settings()
    with closing(open_history(settings)) as history:
        yield open_paused_runs(settings, history)


def _full(runs: PausedRuns, run_id: str, least: int = 1) -> str:
    """The whole name of a run by its first letters.

    Raises:
        InvalidRequest: they are fewer than ``least``.
        PausedRunError: no run, or more than one, begins so.
    """
    start = first_letters(run_id, least)
    found = [run.run_id for run in runs.of(LOCAL) if run.run_id.startswith(start)]
    if len(found) > 1:
        raise PausedRunError("{} paused runs begin with {!r}: give more letters.", len(found),
                             run_id[:32])
    return found[0] if found else run_id
