"""``python -m pipelines compare | rerank`` without a browser."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from easel.cli.backend import opened_backend
from easel.cli.given import finite
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import ImagePrompt, InitImage, Mask, read_picture_files
from easel.cli.rerank import rerank_command
from easel.compare.bundle import INDEX, Bundle, make_bundle, write_folder, write_zip
from easel.history.records import LOCAL
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.events import Progress, Result
from pipelines.core.metadata import png_of, versions
from pipelines.core.new_files import check_file, check_place, write_new

if TYPE_CHECKING:
    from easel.compare.plan import Plan
    from easel.serving.interface import Backend
    from easel.serving.jobs import RunEvent
    from pipelines.registry import Registry

EXIT_STOPPED = 130


def add_compare_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("compare")(compare_command)
    app.command("rerank")(rerank_command)


def parse_pane(text: str, num_images: int) -> dict[str, Any]:
    """A pane from ``pipeline`` or ``pipeline:name=value,name=value``; "seed" and "prompt" are names
    too.

    Raises:
        InvalidRequest: something else stands there.
    """
    pipeline, _, rest = text.partition(":")
    pane: dict[str, Any] = {"pipeline": pipeline.strip(), "num_images": num_images, "options": {}}
    for pair in (pair for pair in rest.split(",") if pair.strip()):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise InvalidRequest("A pane is given as generator:name=value,name=value, not {!r}.",
                                 text[:60], field="panes")
        if name in ("seed", "prompt"):
            pane[name] = value
        else:
            pane["options"][name] = value
    return pane


def compare_command(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What all panes draw.")],
    pane: Annotated[list[str], typer.Option(
        help="Two to four: a generator, perhaps with options, as dalle:temperature=0.5,seed=3, "
             "and with a prompt of its own, as dalle:prompt=a cat.")],
    num_images: Annotated[int, typer.Option(help="Pictures of each pane.")] = 1,
    seed: Annotated[int | None, typer.Option(
        help="Seed of every pane that names none; a new one where left out.")] = None,
    seconds: Annotated[float | None, typer.Option(
        parser=finite,
        help="Device seconds for each pane, which then keeps its best so far.")] = None,
    init_image: InitImage = None, image_prompt: ImagePrompt = None, mask: Mask = None,
    out: Annotated[Path, typer.Option(
        help="Folder for the comparison, or a zip file.")] = Path("comparison"),
    as_json: AsJson = False,
) -> None:
    """Draw a prompt in several ways at the same time, and write a page that shows them.

    Pictures go to every pane whose generator takes them.
    """
    pictures = read_picture_files(init_image, image_prompt, mask)
    if out.suffix == ".zip":
        check_file(out, "The comparison")
    else:
        check_place(out, "The comparison", ("*",))
    from easel.compare.plan import LETTERS, plan_comparison

    with opened_backend(context) as backend:
        plan = plan_comparison(backend.registry, prompt, [parse_pane(p, num_images) for p in pane],
                               seed, seconds, pictures)
        ends, notices, stopped = _run(plan, backend)
        bundle = _bundle(plan, ends, backend.registry)
    if out.suffix == ".zip":
        try:
            written = write_new(out, write_zip(bundle))
        except OSError as error:
            raise EaselError("The comparison could not be written to {}: {}.", out.name,
                             reason(error)) from None
    else:
        written = write_folder(bundle, out) / INDEX
    if as_json:
        print_json({"written": written, "stopped": stopped, "notices": notices, "panes": [
            {**facts.model_dump(mode="json"),
             "error": str(end.event) if isinstance(end.event, EaselError) else None}
            for facts, end in zip(bundle.facts.panes, ends, strict=True)]})
        if stopped:
            raise typer.Exit(EXIT_STOPPED)
        return
    for letter, facts, end in zip(LETTERS, bundle.facts.panes, ends, strict=False):
        if isinstance(end.event, EaselError):
            typer.echo(f"{letter}  {facts.title}: {end.event}")
            continue
        best = facts.pictures[0].scores if facts.pictures else {}
        scores = "".join(f"  {name} {value:.3f}" for name, value in best.items())
        typer.echo(f"{letter}  {facts.title}: {facts.device_s:.2f} s on the device{scores}")
    typer.echo(str(written))
    for notice in notices:
        typer.echo(notice, err=True)
    if stopped:
        typer.echo("Stopped; what was finished is kept.", err=True)
        raise typer.Exit(EXIT_STOPPED)


def _run(plan: Plan, backend: Backend) -> tuple[list[RunEvent], list[str], bool]:
    """How each pane ended, what became of keeping its pictures, and whether Ctrl+C ended it."""
    from easel.cli.bar import Bar
    from easel.cli.run import interrupt_cancels, show_progress

    notices: list[str] = []
    job_ids = [uuid.uuid4().hex for _ in plan.requests]
    ends: dict[int, RunEvent] = {}
    with interrupt_cancels(backend, *job_ids) as interrupted, ExitStack() as stack:
        bars = [stack.enter_context(Bar("step", index)) for index in range(len(plan.requests))]
        for event in backend.compare(plan.requests, job_ids, plan.budget_s, owner=LOCAL):
            if isinstance(event.event, Progress):
                show_progress(bars[event.index], event.event)
            elif isinstance(event.event, Result | EaselError):
                if event.index in ends and isinstance(event.event, EaselError):
                    notices.append(str(event.event))  # drawn, but not kept
                ends.setdefault(event.index, event)
        stopped = interrupted.is_set()
    if not any(isinstance(end.event, Result) for end in ends.values()):
        raise next(end.event for end in ends.values() if isinstance(end.event, EaselError))
    return ([ends[index] for index in range(len(plan.requests))], list(dict.fromkeys(notices)),
            stopped)


def _bundle(plan: Plan, ends: Sequence[RunEvent], registry: Registry) -> Bundle:
    panes, files = [], []
    for request, own, end in zip(plan.requests, plan.own_prompts, ends, strict=True):
        result = end.event if isinstance(end.event, Result) else Result((), 0.0)
        panes.append({
            "pipeline": request.pipeline, "prompt": own,
            "title": registry.get(request.pipeline).title,
            "num_images": request.num_images, "seed": request.seed,
            "options": dict(request.options), "elapsed_s": result.elapsed_s,
            "weights": dict(result.metadata.get("weights") or {}),
            "device_s": end.usage.device_s, "peak_memory_bytes": end.usage.peak_memory_bytes,
            "stopped": bool(result.metadata.get("stopped")),
            "pictures": [{"seed": c.seed, "scores": dict(c.scores),
                          "guide_score": c.metadata.get("guide_score")}
                         for c in result.candidates]})
        files.append([png_of(result, c) for c in result.candidates])
    return make_bundle({"prompt": plan.requests[0].prompt, "budget_s": plan.budget_s,
                        "versions": versions(), "panes": panes}, files, plan.requests)
