"""DALL·E mini beside PyPI's min-dalle: a code of each picture, at 1 and 9 pictures with guidance.

As shipped a CPU with the integer product packs the matrices in 8 bits (``models.linear``); how far
that moves the scores is measured beside the speed.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.peers_turns import Work, compared, timed
from benchmarks.roofline import counted_flops
from pipelines.min_dalle import TRANSFORMER
from pipelines.models.cache.stats import measured_bytes
from pipelines.models.fast_linear import Int8Linear, in_int8
from pipelines.models.machine_rates import MATRIX_SIDE, Rates, best_seconds
from pipelines.models.min_dalle import HEAD_WIDTH, CodeDecoder, MinDalleConfig
from pipelines.models.precision import dtype_for
from pipelines.sampling import RowNoise, choose, guide

REPOSITORY = Path(__file__).resolve().parents[2]
MINI = MinDalleConfig(text_vocab_size=50264, code_vocab_size=16385, dim=1024, hidden=2730, depth=12)
TEXT_TOKENS, PLACE = 16, 128  # a usual prompt; half of the picture is written
GUIDANCE = 16.0
COMPARED_CODES, COMPARED_IMAGES = 16, 8  # of the deviation


class MinDallePeer:
    """PyPI's min-dalle, in a process of its own with as many threads."""

    def __init__(self) -> None:
        shape = {"dim": MINI.dim, "depth": MINI.depth, "hidden": MINI.hidden,
                 "code_vocab_size": MINI.code_vocab_size, "text_vocab_size": 64,
                 "text_tokens": TEXT_TOKENS, "threads": torch.get_num_threads()}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.peer_min_dalle",
             json.dumps(shape)],
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
        dtype = decoder.embedding.weight.dtype
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
        logits = guide(logits[self.images:], logits[:self.images], GUIDANCE)
        return choose(logits, self.noise.draw(logits.shape[-1]), 1.0, 256, 1.0)


def shipped_decoder(decoder: CodeDecoder) -> tuple[CodeDecoder, torch.dtype]:
    """A decoder as a run gets it on this machine from a copy in float32, and its dtype."""
    dtype = dtype_for(TRANSFORMER, torch.device("cpu"), torch.float32, int8=True)
    if dtype == torch.float32:
        return decoder, dtype
    own = copy.deepcopy(decoder)
    return (in_int8(own) if dtype == torch.int8 else own.to(dtype)), dtype  # type: ignore[return-value]


def with_int8(rates: Rates) -> Rates:
    """Rates with that of ``Int8Linear``, the same operations counted as of a float32 product."""
    x = torch.randn(MATRIX_SIDE, MATRIX_SIDE)
    linear = Int8Linear(x)
    seconds = best_seconds(lambda: linear(x), clock=time.process_time)
    return Rates(rates.matrix_flops | {"int8": 2 * MATRIX_SIDE**3 / seconds}, rates.copy_bytes)


def dalle_mini(rates: Rates, turns: int = 7) -> dict[str, Any]:
    """A step, one code of each picture, at 1 and 9 pictures with guidance."""
    plain = random_decoder()
    shipped, dtype = shipped_decoder(plain)
    moved = deviation(plain, shipped)
    rates = with_int8(rates) if dtype == torch.int8 else rates
    peer, figures = MinDallePeer(), {}
    try:
        for images in (1, 9):
            ours, float32 = DecoderStep(shipped, images), DecoderStep(plain, images)
            work = Work(counted_flops(float32), _step_bytes(shipped, images), dtype)
            name = f"dalle_mini_{images}"
            found = compared(lambda o=ours: timed(o), lambda o=float32: timed(o),
                             lambda n=images: peer.step_s(n), turns, work, rates, name)
            figures[name] = found | moved | {
                "tokens_per_s": images / found["ours_s"],
                "peer_tokens_per_s": images / found["peer_s"]}
    finally:
        peer.close()
    return figures


@torch.no_grad()
def deviation(plain: CodeDecoder, shipped: CodeDecoder) -> dict[str, float]:
    """How far the logits of one decoder are from those of another, the same codes read by both.

    Random weights score all codes nearly alike, so that which is best hangs on little: trained
    ones agree more often.

    Returns:
        "logits_error", the norm of the difference as a share of the norm, and "top1_agreement",
        how often the best code is the same, without guidance.
    """
    torch.manual_seed(1)
    codes = torch.randint(MINI.code_vocab_size - 1, (COMPARED_CODES, COMPARED_IMAGES))
    found = [_read(decoder, codes) for decoder in (plain, shipped)]
    error = (found[1] - found[0]).norm() / found[0].norm()
    agreement = (found[0].argmax(-1) == found[1].argmax(-1)).float().mean()
    return {"logits_error": float(error), "top1_agreement": float(agreement)}


def _read(decoder: CodeDecoder, codes: Tensor) -> Tensor:
    """Logits (steps, images, codes) float32 of given codes (steps, images), after one text."""
    torch.manual_seed(2)
    states = torch.randn(1, TEXT_TOKENS, MINI.dim).to(decoder.embedding.weight.dtype)
    text = decoder.text_keys(states, torch.ones(1, TEXT_TOKENS, dtype=torch.bool))
    cache = decoder.new_cache(codes.shape[1])
    return torch.stack([decoder(row, cache, text).float() for row in codes])


def _step_bytes(decoder: CodeDecoder, images: int) -> float:
    """Bytes that a step must read: weights that it uses, keys and values so far and of the text."""
    unused = [layer.text_kv for layer in decoder.layers]
    unused += [decoder.embedding, decoder.position]
    weights = measured_bytes(decoder) - sum(measured_bytes(part) for part in unused)  # type: ignore[arg-type]
    width = MINI.heads * HEAD_WIDTH
    keys = 2 * MINI.depth * width * (2 * images * (PLACE + 1) + 2 * TEXT_TOKENS)
    return weights + keys * decoder.embedding.weight.element_size()
