"""``speed``: how fast the generators are, and how near to what the machine could do.

Each loop is timed as the product runs it, from the progress that a pipeline reports. Its bound
comes from the operations of a step, counted while it runs, from the bytes that a step must read
at least (parameters and cached keys and values), and from the rates that matrix products and
copies reach in this very run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.roofline import machine, parameter_bytes, peak_memory_bytes
from pipelines.core.events import Preview, Progress, Result
from pipelines.core.options import option_fields
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer
from pipelines.models.machine_rates import Rates, measure_rates
from pipelines.pipeline import Pipeline, RunContext
from pipelines.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("text", "vqgan")  # of DALL·E's model, which no step reads
PROMPT = "a photo of a red apple and a blue car"
STEP_LIMIT_S = 0.5  # what the issue of a step of VQGAN+CLIP may take at most
FOUR_LIMIT_S = 10.0
START_TIMEOUT_S = 120.0
POLL_S = 0.02


@dataclass(frozen=True)
class Timed:
    """What one run took.

    Attributes:
        step_s: mean seconds a step, from the end of the first to the end of the last.
        step_flops: mean operations a step, 0 where they were not counted.
        steps: number of steps.
        total_s: seconds from the start to the result.
        first_preview_s: seconds from the start to the first preview, None where there was none.
    """

    step_s: float
    step_flops: float
    steps: int
    total_s: float
    first_preview_s: float | None


def timed_run(pipeline: Pipeline, fields: Mapping[str, Any], cache: ModelCache, registry: Registry,
              count_flops: bool = False) -> Timed:
    """Run a request to its end in this thread, counting operations where asked (slower)."""
    request = registry.check({"pipeline": pipeline.name, "seed": 0, **fields})
    context = RunContext(cache, cache.device, cache.dtype)
    counter = FlopCounterMode(display=False)
    marks: list[tuple[int, float, float]] = []
    first_preview = None
    started = time.perf_counter()

    def consume() -> None:
        nonlocal first_preview
        for event in pipeline.run(request, context):
            now = time.perf_counter()
            if isinstance(event, Preview) and first_preview is None:
                first_preview = now - started
            elif isinstance(event, Progress) and event.total and not event.message:
                flops = counter.get_total_flops() if count_flops else 0
                marks.append((event.step, now, flops))
            elif isinstance(event, Result):
                return

    if count_flops:
        with counter:
            consume()
    else:
        consume()
    total = time.perf_counter() - started
    marks = [m for m in marks if m[0] > 0]
    if len(marks) < 2:
        raise RuntimeError(f"{pipeline.name} reported fewer than two steps")
    (first, t0, f0), (last, t1, f1) = marks[0], marks[-1]
    steps = last - first
    return Timed((t1 - t0) / steps, (f1 - f0) / steps, last, total, first_preview)


def quiet_options(pipeline: Pipeline) -> dict[str, Any]:
    """As few previews as the pipeline allows, for timing its loop alone."""
    return {field.name: field.maximum for field in option_fields(pipeline.Options)
            if field.name.startswith("preview") and field.maximum is not None}


def transformer_bytes(model: ImageTransformer, rows: int) -> float:
    """Bytes that one step must read: parameters once, and the cache at its mean length in a picture
    of two things with drafts."""
    c = model.config
    length = c.text_length + c.plan_length + 5 * model.layer_steps / 2
    itemsize = next(model.parameters()).element_size()
    own = parameter_bytes(model) - parameter_bytes(*(getattr(model, part) for part in PARTS
                                                     if hasattr(model, part)))
    return own + 2 * c.depth * rows * length * c.dim * itemsize


def dalle_speed(registry: Registry, cache: ModelCache, rates: Rates) -> dict[str, Any]:
    """Codes a second at 1 and 8 pictures with guidance, and four pictures with their ranking."""
    pipeline = registry.get("dalle")
    quiet = quiet_options(pipeline)
    timed_run(pipeline, {"prompt": PROMPT, "num_images": 1, "options": quiet}, cache, registry)
    with cache.lease("embedded/dalle") as model:
        codes = model.config.patch**2
        bytes_of = {n: transformer_bytes(model, 2 * n) for n in (1, 8)}
    figures: dict[str, Any] = {}
    for count in (1, 8):
        fields = {"prompt": PROMPT, "num_images": count, "options": quiet}
        run = min((timed_run(pipeline, fields, cache, registry) for _ in range(2)),
                  key=lambda r: r.step_s)
        flops = timed_run(pipeline, fields, cache, registry, count_flops=True).step_flops
        per_step = count * codes
        bound = rates.bound_s(flops, bytes_of[count])
        figures[f"images_{count}"] = {
            "tokens_per_s": round(per_step / run.step_s, 1), "ms_per_step": 1000 * run.step_s,
            "gflops_per_step": flops / 1e9, "bytes_per_step": bytes_of[count],
            "bound_tokens_per_s": round(per_step / bound, 1),
            "fraction_of_bound": bound / run.step_s}
    four = timed_run(pipeline, {"prompt": PROMPT, "num_images": 4}, cache, registry)
    figures |= {"four_ranked_s": four.total_s, "first_preview_s": four.first_preview_s,
                "four_ranked_limit_s": FOUR_LIMIT_S}
    return figures


def vqgan_clip_speed(registry: Registry, cache: ModelCache, rates: Rates,
                     iterations: int = 8) -> dict[str, Any]:
    """Milliseconds a step at 128 px with 16 cutouts, forward and backward."""
    pipeline = registry.get("vqgan_clip")
    names = pipeline.Options.model_fields
    # The page's names are the pipeline's business; those that it lacks are left at their default.
    wanted = {"size": 128, "size_px": 128, "num_cutouts": 16, "cutouts": 16,
              "iterations": iterations, "num_iterations": iterations,
              "num_inference_steps": iterations}
    options = {k: v for k, v in wanted.items() if k in names} | quiet_options(pipeline)
    fields = {"prompt": PROMPT, "num_images": 1, "options": options}
    timed_run(pipeline, fields, cache, registry)
    run = min((timed_run(pipeline, fields, cache, registry) for _ in range(2)),
              key=lambda r: r.step_s)
    flops = timed_run(pipeline, fields, cache, registry, count_flops=True).step_flops
    with cache.lease("embedded/vqgan") as vqgan, cache.lease("embedded/clip-guide") as clip:
        # Read once forward and once backward.
        size = 2 * parameter_bytes(vqgan.decoder, clip.module.visual)
    bound = rates.bound_s(flops, size)
    return {"ms_per_step": 1000 * run.step_s, "ms_per_step_limit": 1000 * STEP_LIMIT_S,
            "options": options, "gflops_per_step": flops / 1e9, "bytes_per_step": size,
            "bound_ms_per_step": 1000 * bound, "fraction_of_bound": bound / run.step_s}


def unclip_figures(registry: Registry, cache: ModelCache, rates: Rates) -> dict[str, Any]:
    """Four pictures of unCLIP with their ranking, and its loop beside diffusers' plain one."""
    from benchmarks.unclip_speed import unclip_speed

    pipeline = registry.get("unclip")
    fields = {"prompt": PROMPT, "num_images": 4}
    timed_run(pipeline, fields, cache, registry)
    run = timed_run(pipeline, fields, cache, registry)
    counted = timed_run(pipeline, fields, cache, registry, count_flops=True)
    flops = counted.step_flops * counted.steps
    return {**unclip_speed(cache, rates, run.total_s, flops), "four_ranked_s": run.total_s,
            "first_preview_s": run.first_preview_s, "four_ranked_limit_s": FOUR_LIMIT_S}


def app_start() -> dict[str, float | int | None]:
    """Seconds from starting ``app.py`` to the first byte of its page, and its peak memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"EASEL_PORT": str(port), "EASEL_HOST": "127.0.0.1"}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < START_TIMEOUT_S and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
                    page.read(1)
            except OSError:
                time.sleep(POLL_S)
                continue
            return {"first_byte_s": time.perf_counter() - started,
                    "peak_memory_bytes": peak_memory_bytes(process.pid)}
        raise RuntimeError("the page did not answer")
    finally:
        process.terminate()
        process.wait(30)


def rounded(value: Any) -> Any:
    """Four significant figures for every float."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def speed(registry: Registry, cache: ModelCache) -> dict[str, Any]:
    """What ``speed.json`` holds."""
    rates = measure_rates(cache.device)
    figures: dict[str, Any] = {
        "machine": machine(cache.device),
        "rates": {"matrix_flops_per_s": rates.matrix_flops, "copy_bytes_per_s": rates.copy_bytes},
        "app": app_start(), "dalle": dalle_speed(registry, cache, rates),
        "vqgan_clip": vqgan_clip_speed(registry, cache, rates)}
    if "unclip" in registry.names():
        figures["unclip"] = unclip_figures(registry, cache, rates)
    figures["peak_memory_bytes"] = peak_memory_bytes()
    if torch.cuda.is_available():
        figures["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    return rounded(figures)
