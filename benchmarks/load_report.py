"""The figures of ``benchmarks.load`` as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.load import MEASURES

WIDTH_PX, HEIGHT_PX, MARGIN_PX = 360, 110, 34
PLOT = "load.svg"


def load_table(results: Mapping[str, Any]) -> str:
    """What the visitors saw and what grew, as Markdown, with the plot."""
    errors = sum(results["errors"].values())
    rows = [
        ("visitors", f"{results['visitors']}"),
        ("pictures drawn of those asked for", f"{results['drawn']} of {results['jobs']}"),
        ("pictures a minute", f"{results['per_minute']:.0f}"),
        ("wait, median and p95", f"{results['wait_p50_s']:.1f} s, {results['wait_p95_s']:.1f} s"),
        ("told that the queue is full, and asked again", f"{results['told_full']:,} times"),
        ("errors", f"{errors}"),
        ("pictures lost", f"{results['lost']}"),
        *((f"{title}: last fifth less second fifth", f"{results['growth'][name]:+.0f}")
          for name, title in MEASURES.items())]
    lines = [f"| {results['machine']['cpu']} | measured |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines) + f"\n\n![Memory, threads, descriptors, cache files](results/{PLOT})"


def load_plot(results: Mapping[str, Any]) -> str:
    """Every measure over the jobs, one under the other, as SVG."""
    samples, parts = results["samples"], []
    most = max(1, max(each["jobs"] for each in samples))
    height = (HEIGHT_PX + MARGIN_PX) * len(MEASURES) + 10
    for number, (name, title) in enumerate(MEASURES.items()):
        top = max(max(each[name] for each in samples), 1)
        y_px = MARGIN_PX + number * (HEIGHT_PX + MARGIN_PX)
        points = " ".join(
            f"{50 + WIDTH_PX * each['jobs'] / most:.1f},"
            f"{y_px + HEIGHT_PX * (1 - each[name] / top):.1f}" for each in samples)
        parts += [
            f'<text x="50" y="{y_px - 8}">{title}, at most {top:,.0f}, over {most:,.0f} jobs'
            "</text>",
            f'<path d="M50 {y_px}V{y_px + HEIGHT_PX}H{50 + WIDTH_PX}" fill="none" stroke="#888"/>',
            f'<text x="44" y="{y_px + 9}" text-anchor="end">{top:,.0f}</text>',
            f'<text x="44" y="{y_px + HEIGHT_PX}" text-anchor="end">0</text>',
            f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>']
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX + 70} {height}" '
        'font-family="sans-serif" font-size="11" fill="#444">',
        f'<rect width="{WIDTH_PX + 70}" height="{height}" fill="#fff"/>', *parts, "</svg>", ""])
