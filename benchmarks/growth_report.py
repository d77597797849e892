"""The figures of growth, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import table

PLOT = "growth.png"
LIMIT_MS = 50.0
ASKED = {"first page": "first page", "text": "two words, one of two letters",
         "text: a word of many pictures": "a word of many pictures",
         "text: words of no picture": "three words that no picture has together",
         "text: the name of one picture": "words of one picture",
         "text: two letters": "two letters", "text: two letters of no picture":
         "two letters that no picture has", "favourites": "favourites",
         "last page": "last page"}
WANTED = tuple(name for name in ASKED if name == "first page" or name.startswith("text"))


def growth_table(results: Mapping[str, Any]) -> str:
    """What more candidates, visitors and kept pictures cost, as Markdown, with the plot."""
    parts: list[str] = []
    if candidates := results.get("candidates"):
        counts = list(next(iter(candidates.values()))["seconds"])
        parts.append(table(
            ["candidates of a prompt, seconds", *counts, "times as long", "wanted"],
            [[name, *(f"{each['seconds'][count]:.1f}" for count in counts),
              f"{each['many']} as {each['few']}: {each['times']:.1f}",
              f"≤ {each['most_times']:.0f}: {_met(each['times'] <= each['most_times'])}"]
             for name, each in candidates.items()]))
    if visitors := results.get("visitors"):
        parts.append(table(
            ["pictures a minute", "one visitor", "as many at once", "share", "wanted"],
            [[name, f"{each['one_a_minute']:.1f}",
              f"{each['visitors']}: {each['all_a_minute']:.1f}", f"{each['share']:.2f}",
              f"≥ {each['least_share']:.1f}: {_met(each['share'] >= each['least_share'])}"]
             for name, each in visitors.items()]))
    if histories := results.get("history"):
        parts.append(_history_table(histories))
    loads = ", ".join(f"{before:.1f} to {after:.1f} ({part})"
                      for part, (before, after) in results["loads"].items())
    parts.append(f"{results['machine']['cpu']}, {results['cores']} cores, float32. Medians: turns "
                 f"of candidates and visitors {results['turns']}, of a question to the history "
                 f"{results['repeats']}. Load of the machine before and after: {loads}.")
    return "\n\n".join([*parts, f"![Seconds by candidates, pictures a minute by visitors, "
                        f"milliseconds by kept pictures](results/{PLOT})"])


def _history_table(histories: Sequence[Mapping[str, Any]]) -> str:
    most = histories[-1]
    rows = [[title, *(f"{each['questions'][name]['median_ms']:.1f}" for each in histories),
             f"{most['questions'][name]['cpu_ms']:.1f}",
             (f"< {LIMIT_MS:.0f}: "
              + _met(most["questions"][name]["median_ms"] < LIMIT_MS)
              if name in WANTED else "")] for name, title in ASKED.items()]
    rows.append(["upgraded from an older Easel's tables, s",
                 *(f"{each['upgrade_s']:.1f}" for each in histories), "", ""])
    return table(["kept pictures, ms until the page has its HTML",
                  *(f"{each['pictures']:,}" for each in histories),
                  f"of the processor, {most['pictures']:,}", "wanted"], rows)


def growth_plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw the three curves beside each other, as PNG.

    Args:
        results: of ``growth_figures``.
        path: the file to write.
    """
    from matplotlib.figure import Figure  # needs requirements-dev.txt

    figure = Figure(figsize=(13, 4), dpi=100, layout="constrained")
    drawn, asked, kept = figure.subplots(1, 3)
    for name, each in results["candidates"].items():
        seconds = {int(count): value for count, value in each["seconds"].items()}
        [line] = drawn.plot(list(seconds), list(seconds.values()), marker="o", label=name)
        few, many = each["few"], each["many"]
        drawn.plot([few, many], [seconds[few], each["most_times"] * seconds[few]], ":",
                   color=line.get_color(), label=f"{name}, as wanted from {few} to {many}")
    _named(drawn, "candidates of a prompt", "seconds until they are ranked")
    for name, each in results["visitors"].items():
        asked.plot([1, each["visitors"]], [each["one_a_minute"], each["all_a_minute"]],
                   marker="o", label=name)
    _named(asked, "visitors at once", "pictures a minute", both=False)
    asked.set_ylim(bottom=0)
    sizes = [each["pictures"] for each in results["history"]]
    for name in WANTED:
        kept.plot(sizes, [each["questions"][name]["median_ms"] for each in results["history"]],
                  marker="o", label=ASKED[name])
    kept.axhline(LIMIT_MS, linestyle=":", color="grey", label="wanted: below")
    _named(kept, "kept pictures", "milliseconds until the page has its HTML")
    figure.savefig(path)


def _named(axes: Any, x: str, y: str, both: bool = True) -> None:
    """Name both axes; logarithmic, except for the upright one where not both are."""
    axes.set_xscale("log")
    if both:
        axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _met(yes: bool) -> str:
    return "met" if yes else "**not met**"
