"""How long the views of Inside take, by the page's endpoints, once the models are loaded.

Each turn reads another picture, one pixel of which differs, as what CLIP said of a picture is
remembered. As on the page, the picture is uploaded before the view is asked for.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import torch
from gradio_client import Client
from PIL import Image

from benchmarks.markdown import table
from benchmarks.roofline import machine
from benchmarks.served import served
from easel.guard.visitors import HEADER, new_token
from pipelines.core.settings import ROOT
from pipelines.registry import build_registry

TURNS = 5
PROMPT = "an orange cat and a blue umbrella"
# Of the view; None where it draws a picture of its own first.
MOST_S: dict[str, float | None] = {
    "inside_score": 1, "inside_codes": 1, "inside_code": 1, "inside_patches": 1, "inside_mix": 1,
    "inside_stream": 2, "inside_complete": 2, "inside_contrast": 1, "inside_replay": 1,
    "inside_loop": None, "inside_prior": None}


def inside_figures(turns: int = TURNS) -> dict[str, Any]:
    """Seconds of each view.

    Args:
        turns: calls of each, after one that loads the models.

    Returns:
        "machine", "turns", and by endpoint "median_s", "least_s", "most_s" by the clock, and
        "wanted_s", the most that it should take, or None.
    """
    seconds: dict[str, list[float]] = {name: [] for name in MOST_S}
    with served(build_registry()) as server:
        token = {HEADER: new_token()}
        described: Any = Client(server.url, verbose=False, headers=token).view_api(
            print_info=False, return_format="dict")
        endpoints = described["named_endpoints"]
        http = httpx.Client(base_url=server.url, headers=token, timeout=300)
        for turn in range(turns + 1):
            for name, call in _calls(http, endpoints, server.folder, turn).items():
                started_s = time.perf_counter()
                call()
                if turn:
                    seconds[name].append(time.perf_counter() - started_s)
    return {"machine": machine(torch.device("cpu")), "turns": turns, "views": {
        name: {"median_s": statistics.median(each), "least_s": min(each), "most_s": max(each),
               "wanted_s": MOST_S[name]} for name, each in seconds.items()}}


def _uploaded(http: httpx.Client, path: Path) -> dict[str, Any]:
    """A picture that the server has, as its endpoints take it."""
    with path.open("rb") as file:
        answer = http.post("gradio_api/upload", files={"files": (path.name, file)})
    return {"path": answer.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}


def _ask(http: httpx.Client, name: str, data: list[Any]) -> None:
    """Wait for the answer of an endpoint.

    Raises:
        RuntimeError: it was no answer.
    """
    path = f"gradio_api/call/{name}"
    event = http.post(path, json={"data": data}).raise_for_status().json()["event_id"]
    with http.stream("GET", f"{path}/{event}") as lines:
        for line in lines.iter_lines():
            if line == "event: complete":
                return
            if line == "event: error":
                break
    raise RuntimeError(f"/{name} failed")


def _calls(http: httpx.Client, endpoints: Mapping[str, Any], folder: Path, turn: int,
           ) -> dict[str, Callable[[], object]]:
    """A call of each view on pictures that nobody has seen before."""
    pictures = []
    for path in sorted((ROOT / "assets" / "samples").glob("*.png")):
        with Image.open(path) as image:
            changed = image.convert("RGB")
        changed.putpixel((0, 0), (turn, turn, turn))
        changed.save(folder / path.name)
        pictures.append(_uploaded(http, folder / path.name))
    one, two = pictures[2], pictures[0]
    texts = [path.stem[2:].replace("-", " ")
             for path in sorted((ROOT / "assets" / "samples").glob("*.png"))]
    arguments: dict[str, tuple[Any, ...]] = {
        "inside_score": (one, PROMPT), "inside_codes": (one,), "inside_code": (one, 8, 8),
        "inside_patches": (one,), "inside_mix": (one, two, "left"), "inside_stream": (one, PROMPT),
        "inside_complete": (one, PROMPT), "inside_contrast": (pictures, texts),
        "inside_replay": (8,), "inside_loop": (PROMPT,), "inside_prior": (PROMPT,)}
    calls: dict[str, Callable[[], object]] = {}
    for name, given in arguments.items():
        left = endpoints[f"/{name}"]["parameters"][len(given):]
        data = [*given, *(parameter["parameter_default"] for parameter in left)]
        calls[name] = functools.partial(_ask, http, name, data)
    return calls


def inside_table(results: Mapping[str, Any]) -> str:
    """The views, one row each, as Markdown, and which take longer than they should."""
    views = results["views"]
    rows = [[f"`/{name}`", f"{row['median_s']:.2f}", f"{row['least_s']:.2f}–{row['most_s']:.2f}",
             "" if row["wanted_s"] is None else f"{row['wanted_s']:g}"]
            for name, row in views.items()]
    late = [f"`/{name}`" for name, row in views.items()
            if row["wanted_s"] is not None and row["median_s"] > row["wanted_s"]]
    return table([results["machine"]["cpu"], "median s", "all", "wanted"], rows) + (
        f"\n\nLonger than wanted: {', '.join(late) or 'none'}.")
