"""The figures of clusters, simulated and measured, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cluster_scales import TOO_MUCH, USUAL
from benchmarks.markdown import table

PLOT = "cluster_simulation.png"
Point = Mapping[str, Any]


def cluster_table(results: Mapping[str, Any]) -> str:
    """What a cluster on one machine does, as Markdown."""
    recovery, work = results["recovery"], results["workload"]
    cpu = results["machine"]["cpu"]
    rows = [
        (f"a run of {work['steps']} steps of {1000 * work['step_s']:.0f} ms: in one process, on a "
         "cluster",
         f"{results['local_run_s']:.3f} s, {results['ray_run_s']:.3f} s"),
        ("so a cluster adds to a run", f"{results['overhead_s']:.3f} s"),
        ("a question at the desk", f"{results['question_ms']:.1f} ms"),
        (f"questions that it answers a second, {work['threads']} threads ask",
         f"{results['questions_a_second']:,.0f}"),
        ("what a question takes of the desk's processor",
         f"{1000 * results['desk_processor_s']:.2f} ms"),
        ("events a second from one runner to a front end", f"{results['events_a_second']:,.0f}"),
        ("runner killed: what it drew is drawn by another after",
         f"{recovery['runner_drawn_again_s']:.1f} s"),
        ("runner killed: there is a new one after", f"{recovery['runner_replaced_s']:.1f} s"),
        ("desk killed: it answers after", f"{recovery['desk_answers_s']:.1f} s"),
        ("desk killed: it knows all that runs and waits after",
         f"{recovery['desk_knows_all_s']:.1f} s"),
        ("runs lost by these", f"{recovery['lost']:.0f}"),
        ("Ray up; two runners up", f"{results['node_s']:.0f} s; {results['runners_s']:.0f} s")]
    mixes = [(str(each["runners"]), "yes" if each["overtaking"] else "no",
              f"{each['drawn']:.0f} of {work['users']}", f"{each['seconds']:.1f} s",
              f"{each['loads']:.0f}", f"{each['runs_a_minute']:.0f}") for each in results["mixes"]]
    return table([cpu, "measured"], rows) + "\n\n" + (
        f"{work['users']} runs of {work['user_s']} s at once, each with one of {work['models']} "
        f"models that load in {work['load_s']:.0f} s, of which a runner holds {work['room']}:\n\n"
    ) + table(
            ["runners", "overtaking", "drawn", "all have ended after", "loads", "runs a minute"],
            mixes)


def _points(mix: Mapping[str, Any], load: float, overtaking: bool = True, desks: int = 1,
            ) -> list[Point]:
    return [each for each in mix["points"] if each["load"] == load and each["desks"] == desks
            and each["overtaking"] == overtaking]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def simulation_tables(results: Mapping[str, Any]) -> str:
    """How clusters of more and more runners fare, a table a mix, with the plot."""
    parts = []
    for mix in results["mixes"]:
        usual, busy = _points(mix, USUAL), _points(mix, TOO_MUCH)
        plain = {each["runners"]: _rate(each)
                 for each in _points(mix, TOO_MUCH, overtaking=False)}
        rows = [[f"{a['runners']:,}", f"{a['users']:,}", _seconds(a["wait_p50_s"]),
                 _seconds(a["wait_p95_s"]), _seconds(a["load_s"]), f"{a['usd_for_1000']:.2f}",
                 plain.get(a["runners"], "–"), _rate(b), f"{100 * b['desk_busy']:.1f} %"]
                for a, b in zip(usual, busy, strict=True)]
        parts.append(
            f"### {mix['name']}\n\n" + table(
                ["runners", "users", f"wait at a load of {USUAL}, median", "p95", "loading a run",
                 "USD for 1,000 pictures", "pictures a minute at most, nobody overtakes",
                 "with overtaking", "the desk is busy"], rows))
        most = busy[-1]["runners"]
        rows = [[f"{each['desks']}", *(f(each) for each in (a, each) for f in (
            _rate, lambda p: f"{_seconds(p['wait_p50_s'])}, {_seconds(p['wait_p95_s'])}",
            lambda p: f"{100 * p['desk_busy']:.1f} %"))]
                for a, each in zip(_sharded(mix, USUAL), _sharded(mix, TOO_MUCH), strict=True)]
        parts.append(f"{most:,} runners, divided among several desks by who asks:\n\n" + table(
            ["desks", f"pictures a minute at {USUAL}", "wait, median and p95",
             "the busiest desk is busy", f"pictures a minute at {TOO_MUCH}",
             "wait, median and p95", "the busiest desk is busy"], rows))
    return "\n\n".join([*parts, f"![Throughput, waits, price and desk by runners](results/{PLOT})"])


def _sharded(mix: Mapping[str, Any], load: float) -> list[Point]:
    most = max(each["runners"] for each in mix["points"])
    return [each for each in mix["points"]
            if each["load"] == load and each["runners"] == most and each["overtaking"]]


def _rate(point: Point) -> str:
    return f"{point['pictures_a_minute']:,.0f}" + ("" if point["kept_up"] else ", then none")


def simulation_plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw throughput, waits, price and the desk's time over the runners, as PNG.

    Args:
        results: of ``simulation_figures``.
        path: the file to write.
    """
    from matplotlib.figure import Figure  # needs requirements-dev.txt

    mixes = [(mix["name"].partition(",")[0], mix) for mix in results["mixes"]]
    charts: list[tuple[str, list[tuple[str, list[Point], str]]]] = [
        ("pictures a minute at most", [
            (f"{name}, {how}", _points(mix, TOO_MUCH, overtaking), "pictures_a_minute")
            for name, mix in mixes
            for how, overtaking in (("with overtaking", True), ("without", False))]),
        (f"seconds of waiting at a load of {USUAL}", [
            (f"{name}, {how}", _points(mix, USUAL), field) for name, mix in mixes
            for how, field in (("median", "wait_p50_s"), ("p95", "wait_p95_s"))]),
        (f"USD for 1,000 pictures at a load of {USUAL}", [
            (name, _points(mix, USUAL), "usd_for_1000") for name, mix in mixes]),
        ("share of its time that the desk is busy for", [
            (f"{name}, load {load}", _points(mix, load), "desk_busy")
            for name, mix in mixes for load in (USUAL, TOO_MUCH)])]
    figure = Figure(figsize=(11, 7.5), dpi=100, layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(2, 2).flat, charts, strict=True):
        for name, points, field in lines:
            axes.plot([each["runners"] for each in points], [each[field] for each in points],
                      marker="o", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", xlabel="runners", title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path)
