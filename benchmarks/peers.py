"""``peers``: Easel's loops beside what people run without it, with random weights of public size.

Both sides run in the same process tree, on the same threads, in turns, and each figure is the
median of its turns. Seconds are those of the processor, not of the clock on the wall, so that
other work on the machine does not decide. "As shipped" is Easel as it comes, in bfloat16 where the
machine is faster in it, against float32, which is what the others ship on a CPU; "same dtype" is
float32 on both sides. The bound is the least time that Easel's own operations and bytes can take
at the rates measured in the same run.
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from benchmarks.roofline import Rates, counted_flops, machine, measure_rates, parameter_bytes
from benchmarks.speed import rounded
from pipelines.cutouts import Cutouts
from pipelines.guided import Guide, Painting
from pipelines.latents import Latents, start_latents
from pipelines.models import hastened, hastened_vqgan
from pipelines.models.clip import ClipModel
from pipelines.models.min_dalle import HEAD_WIDTH, CodeDecoder, MinDalleConfig
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.precision import fast_bfloat16
from pipelines.prompts import WeightedPrompt
from pipelines.rerank import rank
from pipelines.sampling import RowNoise, choose, guide

REPOSITORY = Path(__file__).resolve().parents[1]
PROMPT = "a photo of a red apple and a blue car"
SIZE_PX, NUM_CUTOUTS = 256, 32
MINI = MinDalleConfig(text_vocab_size=50264, code_vocab_size=16385, dim=1024, hidden=2730, depth=12)
TEXT_TOKENS, PLACE = 16, 128  # a usual prompt; half of the picture is written
RANKED, OURS_TIMED, PEER_TIMED = 256, 64, 8  # pictures ranked, and how many of them a turn times
TARGETS = {"vqgan_clip_step": (5, 1.2), "dalle_mini_1": (5, 3), "dalle_mini_9": (5, 3),
           "rank_256": (4, None)}


class Side(Protocol):
    """One side of a comparison: does its work once and returns the seconds of it."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Work:
    """What Easel must do at least as shipped: operations and bytes, by the dtype of its weights."""

    flops: float
    size_bytes: float


def timed(run: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def in_turns(sides: Sequence[Side], turns: int) -> list[float]:
    """The median seconds of each side, one turn of each after the other."""
    found: list[list[float]] = [[] for _ in sides]
    for _ in range(turns):
        for times, side in zip(found, sides, strict=True):
            times.append(side())
    return [statistics.median(times) for times in found]


def compared(ours: Side, ours_float32: Side, peer: Side, turns: int, work: Work, rates: Rates,
             name: str) -> dict[str, Any]:
    """Time the three sides and put their figures together."""
    ours_s, float32_s, peer_s = in_turns((ours, ours_float32, peer), turns)
    bound_s = rates.bound_s(work.flops, work.size_bytes)
    shipped, same = TARGETS[name]
    return {"ours_s": ours_s, "ours_float32_s": float32_s, "peer_s": peer_s,
            "ratio_as_shipped": peer_s / ours_s, "ratio_same_dtype": peer_s / float32_s,
            "bound_s": bound_s, "fraction_of_bound": bound_s / ours_s,
            "gflops": work.flops / 1e9, "megabytes": work.size_bytes / 1e6, "turns": turns,
            "target_as_shipped": shipped, "target_same_dtype": same}


def shipped_dtype() -> torch.dtype:
    """What "auto" chooses on this machine for public checkpoints."""
    fast = fast_bfloat16(torch.device("cpu"), large=True)
    return torch.bfloat16 if fast else torch.float32


def random_vqgan() -> VQGAN:
    """A VQGAN f16 of 1,024 codes, random."""
    torch.manual_seed(0)
    return VQGAN(VQGANConfig()).eval().requires_grad_(False)


def random_clip() -> open_clip.CLIP:
    """A ViT-B/32, random."""
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-32")
    if config is None:
        raise RuntimeError("open_clip does not know ViT-B-32")
    return open_clip.CLIP(**config).eval().requires_grad_(False)


def shipped_clip(clip: open_clip.CLIP, dtype: torch.dtype) -> ClipModel:
    """A copy as Easel's loader hands it out."""
    module = hastened.hastened(copy.deepcopy(clip).to(dtype))
    return ClipModel(module, open_clip.SimpleTokenizer(), 224)


def vqgan_clip_step(rates: Rates, turns: int = 3) -> dict[str, Any]:
    """A step at 256 px with 32 cutouts of 224 px, forward and backward."""
    from benchmarks.peer_loops import PlainLoop

    vqgan, clip = random_vqgan(), random_clip()
    target = shipped_clip(clip, torch.float32).encode_text([PROMPT])
    plain = PlainLoop(vqgan, clip, target, SIZE_PX, NUM_CUTOUTS)
    steps: dict[torch.dtype, Callable[[], object]] = {}
    weights: dict[torch.dtype, float] = {}
    for dtype in {shipped_dtype(), torch.float32}:
        own = hastened_vqgan.hastened(copy.deepcopy(vqgan).to(dtype))
        guide_clip = shipped_clip(clip, dtype)
        generator = torch.Generator().manual_seed(0)
        start = start_latents(own, "noise", None, SIZE_PX, [generator])
        painting = Painting(own, Guide(guide_clip, [WeightedPrompt(PROMPT)]),
                            Latents(start, own, "adam", 0.1, "constant", 0.0), [generator],
                            Cutouts(num_cutouts=NUM_CUTOUTS), precision="float32")
        steps[dtype] = lambda painting=painting: painting.step(1, 100, lambda: False)
        # Read once forward and once backward.
        weights[dtype] = 2 * parameter_bytes(own.decoder, guide_clip.module.visual)
    ours = steps[shipped_dtype()]
    work = Work(counted_flops(ours), weights[shipped_dtype()])
    found = compared(lambda: timed(ours), lambda: timed(steps[torch.float32]),
                     lambda: timed(plain.step), turns, work, rates, "vqgan_clip_step")
    return {"vqgan_clip_step": found}


class MinDallePeer:
    """PyPI's min-dalle, in a process of its own with as many threads."""

    def __init__(self) -> None:
        shape = {"dim": MINI.dim, "depth": MINI.depth, "hidden": MINI.hidden,
                 "code_vocab_size": MINI.code_vocab_size, "text_vocab_size": 64,
                 "text_tokens": TEXT_TOKENS, "threads": torch.get_num_threads()}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.peer_min_dalle", json.dumps(shape)],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("min-dalle's process ended early")
        return json.loads(line)

    def step_s(self, images: int) -> float:
        """Processor seconds of one step."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"images": images, "place": PLACE}) + "\n")
        self._process.stdin.flush()
        return float(self._read()["step_s"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)


def random_decoder() -> CodeDecoder:
    """The decoder of DALL·E mini, random."""
    torch.manual_seed(0)
    decoder = CodeDecoder(MINI)
    for parameter in decoder.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02)
    return decoder.eval().requires_grad_(False)


class DecoderStep:
    """Easel's step of DALL·E mini: both conditions, guidance, choice of the next code."""

    def __init__(self, decoder: CodeDecoder, images: int) -> None:
        self.decoder, self.images = decoder, images
        dtype = decoder.head.weight.dtype
        visible = torch.ones(2, TEXT_TOKENS, dtype=torch.bool)
        visible[0, 2:] = False
        self.text = decoder.text_keys(torch.randn(2, TEXT_TOKENS, MINI.dim).to(dtype), visible)
        self.cache = decoder.new_cache(2 * images)
        self.noise = RowNoise(range(images))

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """One code of every picture, at the same place each time."""
        self.cache.length = PLACE
        codes = torch.zeros(2 * self.images, dtype=torch.long)
        logits = self.decoder(codes, self.cache, self.text).float()
        logits = guide(logits[self.images:], logits[:self.images], 16.0)
        return choose(logits, self.noise.draw(logits.shape[-1]), 1.0, 256, 1.0)


def dalle_mini(rates: Rates, turns: int = 7) -> dict[str, Any]:
    """A step, one code of each picture, at 1 and 9 pictures with guidance."""
    decoders = {torch.float32: random_decoder()}
    dtype = shipped_dtype()
    if dtype not in decoders:
        decoders[dtype] = copy.deepcopy(decoders[torch.float32]).to(dtype)
    peer, figures = MinDallePeer(), {}
    try:
        for images in (1, 9):
            ours = DecoderStep(decoders[dtype], images)
            float32 = DecoderStep(decoders[torch.float32], images)
            work = Work(counted_flops(ours), _step_bytes(decoders[dtype], images))
            name = f"dalle_mini_{images}"
            found = compared(lambda o=ours: timed(o), lambda o=float32: timed(o),
                             lambda n=images: peer.step_s(n), turns, work, rates, name)
            figures[name] = found | {
                "tokens_per_s": images / found["ours_s"],
                "peer_tokens_per_s": images / found["peer_s"]}
    finally:
        peer.close()
    return figures


def _step_bytes(decoder: CodeDecoder, images: int) -> float:
    """Bytes that a step must read: weights that it uses, keys and values so far and of the text."""
    itemsize = decoder.head.weight.element_size()
    unused = sum(layer.text_kv.weight.numel() for layer in decoder.layers)  # type: ignore[union-attr]
    tables = decoder.embedding.weight.numel() + decoder.position.weight.numel()
    weights = parameter_bytes(decoder) - (unused + tables) * itemsize
    width = MINI.heads * HEAD_WIDTH
    keys = 2 * MINI.depth * width * (2 * images * (PLACE + 1) + 2 * TEXT_TOKENS)
    return weights + keys * itemsize


def rank_256(rates: Rates, turns: int = 3) -> dict[str, Any]:
    """Pictures of 256 px put in order by a ViT-B/32, from uint8 arrays to scores."""
    from benchmarks.peer_loops import plain_ranking

    clip = random_clip()
    source = np.random.default_rng(0)
    images = list(source.integers(0, 256, (OURS_TIMED, 256, 256, 3), dtype=np.uint8))
    preprocess = open_clip.image_transform(224, is_train=False)
    models = {dtype: shipped_clip(clip, dtype) for dtype in {shipped_dtype(), torch.float32}}
    text = models[torch.float32].encode_text([PROMPT])

    def ours(dtype: torch.dtype) -> Callable[[], float]:
        part = RANKED / OURS_TIMED
        return lambda: part * timed(lambda: rank(images, [PROMPT], models[dtype]))

    def peer() -> float:
        part = RANKED / PEER_TIMED
        return part * timed(lambda: plain_ranking(images[:PEER_TIMED], clip, preprocess, text))

    dtype = shipped_dtype()
    flops = counted_flops(lambda: rank(images[:1], [PROMPT], models[dtype])) * RANKED
    work = Work(flops, parameter_bytes(models[dtype].module.visual))
    found = compared(ours(dtype), ours(torch.float32), peer, turns, work, rates, "rank_256")
    return {"rank_256": found | {"pictures_timed": {"ours": OURS_TIMED, "peer": PEER_TIMED}}}


def peers(turns: int | None = None,
          keep: Callable[[dict[str, Any]], None] = lambda figures: None) -> dict[str, Any]:
    """What ``peers.json`` holds.

    Args:
        turns: of every comparison; each its own number where None.
        keep: called with all figures so far after every comparison.
    """
    torch.set_num_threads(1)  # processor seconds of several threads would be those of all
    rates = measure_rates(torch.device("cpu"), clock=time.process_time)
    given = {} if turns is None else {"turns": turns}
    figures: dict[str, Any] = {
        "machine": machine(torch.device("cpu")), "shipped_dtype": str(shipped_dtype()),
        "clock": "processor seconds of one thread, median of turns taken one after the other",
        "rates": {"matrix_flops_per_s": rates.matrix_flops, "copy_bytes_per_s": rates.copy_bytes}}
    for compare in (dalle_mini, rank_256, vqgan_clip_step):
        figures |= compare(rates, **given)
        keep(rounded(figures))
    return rounded(figures)
