"""A cluster from the command line: ``python -m pipelines cluster up`` and its like."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from easel.cli.output import AsJson, print_json
from easel.settings import MOST_RUNNERS, Settings, load_settings
from pipelines.core.errors import EaselError

if TYPE_CHECKING:
    from easel.serving.ray.link import Link

LOOK_S = 1.0
LEAVE_S = 45.0  # that what runs may take to end
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                  help="Start, watch and end a cluster, on which EASEL_BACKEND=ray draws.")


@app.command("up")
def up_command(
    runners: Annotated[int | None, typer.Option(
        min=1, max=MOST_RUNNERS,
        help="How many runners there are to be, at least; EASEL_RUNNERS where left out.",
    )] = None,
    max_runners: Annotated[int | None, typer.Option(
        min=1, max=MOST_RUNNERS,
        help="How many there may be while people wait long; EASEL_MAX_RUNNERS where left out, "
             "or as many as --runners says.")] = None,
    listen: Annotated[str, typer.Option(
        help="This machine's address for the others of a private network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(
        min=0, max=65535, help="Port of the cluster's head; a free one where left out.")] = 0,
    join: Annotated[str, typer.Option(
        help="Host and port of the head of a cluster that this machine joins.")] = "",
    as_json: AsJson = False,
) -> None:
    """Start a cluster on this machine, or replace its runners one by one; or join another's."""
    from easel.serving.ray.connect import check_shared
    from easel.serving.ray.node import check_ray, starting

    check_ray()
    if not listen.strip():  # or sockets take it for every address of the machine
        raise EaselError("--listen is empty: name this machine's address in the private network.")
    settings, folder = _settings()
    settings = _with_runners(settings, runners, max_runners)
    check_shared(settings, listen)
    with starting(folder):
        if join:
            _join(settings, folder, listen, join)
            _say(as_json, {"address": join},
                 f"This machine is part of the cluster at {join}.")
            return
        address, drawing = _start(settings, folder, listen, port)
    few = drawing < settings.runners
    more = f", and up to {settings.max_runners} while people wait long" \
        if settings.max_runners > settings.runners else ""
    count = f"{drawing} of {settings.runners}" if few else str(drawing)
    draw = "runner draws" if settings.runners == 1 else "runners draw"
    why = ", since the cluster has room for no more now" if few else ""
    _say(as_json, {"address": address, "runners": drawing},
         f"{count} {draw} at {address}{why}{more}. EASEL_BACKEND=ray lets the page and commands "
         "use the cluster, and python -m pipelines cluster down ends it.")


def _with_runners(settings: Settings, least: int | None, most: int | None) -> Settings:
    """Settings with the numbers of runners that a command names in the place of theirs.

    Raises:
        EaselError: there are fewer at most than at least.
    """
    if least is not None:
        settings = settings.model_copy(update={"runners": least})
    if most is not None:
        settings = settings.model_copy(update={"max_runners": most})
    settings.check_runners()
    return settings


def _start(settings: Settings, folder: Path, listen: str, port: int) -> tuple[str, int]:
    """Begin a cluster on this machine, or change the one that there is.

    Returns:
        Its address, and how many runners draw.
    """
    from easel.history.build import open_history
    from easel.serving.ray.connect import check_code, join_cluster, link_to
    from easel.serving.ray.node import node_of, start_node

    open_history(settings).close()  # the runners say less well what is amiss with it
    node = node_of(folder)
    if node is None:
        address = start_node(folder, listen, port).address
        join_cluster(settings.model_copy(update={"ray_address": address}))
    else:
        address = node.address
        found = settings.model_copy(update={"ray_address": address})
        join_cluster(found)
        if (link := link_to(found, empty=True)) is not None:
            check_code(link.facts())
            link.ask("drain", False)
    from easel.serving.ray.deploy import deploy

    return address, deploy(settings)


def _join(settings: Settings, folder: Path, listen: str, join: str) -> None:
    """Make this machine a part of another's cluster."""
    from easel.history.build import open_history
    from easel.serving.ray.connect import check_code, check_shared, join_cluster, link_to, reach
    from easel.serving.ray.environment import is_here
    from easel.serving.ray.node import end_node, node_of, start_node

    node = node_of(folder)
    if node is not None:
        raise EaselError("This machine is part of a cluster already, of that at {}.", node.address)
    host = reach(join, "--join")
    if is_here(host):
        raise EaselError("The cluster at {} takes no other machine in, since it listens on its own "
                         "alone: start it with --listen and an address of a private network.", join)
    check_shared(settings, host)
    if is_here(listen):
        raise EaselError("--listen has to name this machine's address in the private network, at "
                         "which the others of the cluster reach it.")
    open_history(settings).close()
    start_node(folder, listen, join=join)
    try:
        found = settings.model_copy(update={"ray_address": join})
        join_cluster(found)
        if (link := link_to(found, empty=True)) is not None:
            check_code(link.facts())
    except EaselError:
        end_node(folder)  # no runner of other code comes here
        raise


@app.command("status")
def status_command(as_json: AsJson = False) -> None:
    """Say what runs and waits, and how the runners fare."""
    facts = _link().facts()
    rows = [{"runner": each.report.runner, "host": each.report.host, "device": each.report.device,
             "draws": bool(each.job_ids), "models": sorted(each.report.models),
             "model_bytes": each.report.holding.used_bytes} for each in facts.runners]
    if as_json:
        print_json({"running": facts.running, "waiting": facts.waiting, "drains": facts.drains,
                    "granted": facts.counts, "runners": rows, "wanted": facts.wanted,
                    "least": facts.least, "most": facts.most})
        return
    typer.echo(f"{facts.running} running, {facts.waiting} waiting"
               f"{'; no more are taken' if facts.drains else ''}")
    typer.echo(f"Runners: {len(rows)}; {facts.wanted or '–'} wanted now, {facts.least} at least "
               f"and {facts.most} at most.")
    for row in rows:
        typer.echo(f"{row['runner']}  {row['host']}  {row['device']}  "
                   f"{'draws' if row['draws'] else 'is free'}  {', '.join(row['models'])}")


@app.command("drain")
def drain_command(
    off: Annotated[bool, typer.Option("--off", help="Take jobs again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take no more jobs, and wait until those that there are have ended."""
    link = _link()
    link.ask("drain", not off)
    while not off and (facts := link.facts()).running + facts.waiting:
        time.sleep(LOOK_S)
    _say(as_json, {"drains": not off},
         "Jobs are taken again." if off else
         "Nothing runs or waits any more, and no jobs are taken until python -m pipelines cluster "
         "drain --off.")


@app.command("down")
def down_command(as_json: AsJson = False) -> None:
    """End this machine's part of a cluster, and with its head all of it.

    What runs is paused where it can be, else stopped with what is drawn, within some seconds.
    """
    from easel.serving.ray.node import end_node, node_of

    settings, folder = _settings()
    if (node := node_of(folder)) is not None and node.sockets:  # the head
        found = settings.model_copy(update={"ray_address": node.address})
        # A cluster that does not answer ends too.
        telling = threading.Thread(target=_let_go, args=(found,), name="let-go", daemon=True)
        telling.start()
        telling.join(LEAVE_S)
    if not end_node(folder):
        raise EaselError("No cluster runs on this machine.")
    _say(as_json, {"ended": True}, "The cluster's part on this machine has ended.")


def _let_go(settings: Settings) -> None:
    """Have all that runs on a cluster end, so that whoever reads it is told and nothing is lost."""
    from easel.serving.ray.connect import link_to

    with suppress(EaselError):
        if (link := link_to(settings, empty=True)) is not None:
            link.ask("end")
            while (facts := link.facts()).running + facts.waiting:
                time.sleep(LOOK_S)
            time.sleep(LOOK_S)  # until front ends have read to the end


def _say(as_json: bool, facts: Mapping[str, object], sentence: str) -> None:
    """To machines the facts, to people a sentence."""
    if as_json:
        print_json(dict(facts))
    else:
        typer.echo(sentence)


def _settings() -> tuple[Settings, Path]:
    settings = load_settings()
    return settings, settings.data_dir.resolve() / "cluster"


def _link() -> Link:
    from easel.serving.ray.connect import link_to

    return link_to(load_settings())
