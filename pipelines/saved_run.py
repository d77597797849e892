"""The whole state of a run in one file: resumed elsewhere or later, it draws the same bits.

A file is safetensors: tensors, and JSON as its metadata; reading it runs no code. A hash over both
shows whether a file is damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipelines.core.errors import InvalidRequest, PausedRunError
from pipelines.core.events import Earlier, Mark
from pipelines.core.request import IMAGE_PROMPT, INIT_IMAGE, MASK, SEED_COUNT, Request
from pipelines.core.video import MAX_FRAMES

FORMAT = 1
MAX_NOISE = 1.0
SUFFIX = ".safetensors"
DAMAGED = "The paused run's file is damaged, so the run cannot go on."
OTHER_VERSION = ("The run was paused by another version of Easel, which alone can let it go on.")
_HEADER, _SHA256 = "easel_run", "sha256"
_FRAME = "frame."


def checked_changes(prompt: Any = None, iterations: Any = None, seed: Any = None,
                    noise: Any = None) -> dict[str, Any]:
    """What is to be different when a run is resumed, by name; {} for nothing.

    Args:
        prompt: in place of the run's; weights are part of it.
        iterations: steps that the run takes in all, those before the pause among them.
        seed: restarts the random numbers.
        noise: added to the latents, as a share of half of their range.

    Values are of any type; None and "" stand for no change. Prompt and iterations are checked as
    the request's, which they become.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    prompt, iterations, seed, noise = (None if value == "" else value
                                       for value in (prompt, iterations, seed, noise))
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidRequest("The prompt must be text.", field="prompt")
    if isinstance(seed, str) and seed.strip().isdecimal() and len(seed) < 12:
        seed = int(seed)
    for value, name in ((iterations, "Iterations"), (seed, "Seed")):
        whole = isinstance(value, int | float) and value == value // 1
        if value is not None and (isinstance(value, bool) or not whole):
            raise InvalidRequest("{} must be a whole number.", name, field=name.lower())
    if isinstance(seed, int | float) and not 0 <= seed < SEED_COUNT:
        raise InvalidRequest("Seed must be between 0 and {}.", SEED_COUNT - 1, field="seed")
    noise = 0.0 if noise is None else noise
    if isinstance(noise, bool) or not isinstance(noise, int | float) \
            or not 0 <= noise <= MAX_NOISE:
        raise InvalidRequest("Noise must be a number between 0 and {:g}.", MAX_NOISE,
                             field="noise")
    found = {"prompt": prompt, "iterations": None if iterations is None else int(iterations),
             "seed": None if seed is None else int(seed), "noise": float(noise) or None}
    return {name: value for name, value in found.items() if value is not None}


class SavedRun(BaseModel):
    """A run between two of its steps; what is not excluded is the JSON of its file.

    Attributes:
        format: of the file.
        request: as it runs now; its pictures are tensors of the file.
        step: steps taken.
        total: steps that it is to take.
        facts: JSON-ready, of the pipeline.
        weights: SHA-256 of the weights that made the state, by model id.
        losses: points (step, value) of the loss curves so far, by name.
        marks: changes so far, each with the steps taken before it.
        paused: whether a person paused the run, rather than the server being killed.
        saved_s: Unix time of its file.
        number: counted up in the order of pausing where files were all that there was; else 0.
        branch_of: the run that it branched off; empty where it did not.
        strides: of tensors that do not lie in memory as a file has them; sums over such a tensor
            differ in their last bits from those over a plain copy.
        tensors: of the pipeline, on the CPU.
        frames: earlier frames of its video, JPEG files.
        changes: what is new from here on, as in the last of ``marks``; {} where nothing is.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants",
                              arbitrary_types_allowed=True)

    format: int = Field(default=FORMAT, ge=1)
    request: Request
    step: int = Field(ge=0)
    total: int = Field(ge=1)
    facts: dict[str, Any]
    weights: dict[str, str | None] = Field(default_factory=dict)
    losses: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)
    marks: list[tuple[int, dict[str, Any]]] = Field(default_factory=list)
    paused: bool = False
    saved_s: float = 0.0
    number: int = Field(default=0, ge=0)
    branch_of: str = ""
    strides: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    tensors: dict[str, Tensor] = Field(default_factory=dict, exclude=True, repr=False)
    frames: tuple[bytes, ...] = Field(default=(), exclude=True, repr=False)
    changes: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def earlier(self) -> Earlier:
        """Curves, changes and frames so far, as events have them."""
        return Earlier({name: tuple(points) for name, points in self.losses.items()},
                       tuple(Mark(step, changes) for step, changes in self.marks), self.frames)

    def changed(self, request: Request, changes: Mapping[str, Any], total: int, branch_of: str,
                ) -> SavedRun:
        """This state as the start of a changed run, the change marked.

        Args:
            request: with the changes in it.
            changes: as ``checked_changes`` gives them.
            total: steps that the run is to take now.
            branch_of: the run that this one branches off; empty where it is resumed itself.
        """
        new: dict[str, Any] = {}
        if request.prompt != self.request.prompt:
            new |= {"prompt_before": self.request.prompt, "prompt": request.prompt}
        if total != self.total:
            new["iterations"] = total
        new |= {name: changes[name] for name in ("seed", "noise") if name in changes}
        if branch_of:
            new["branch_of"] = branch_of
        return self.model_copy(update={
            "request": request, "total": total, "branch_of": branch_of or self.branch_of,
            "changes": new,
            "marks": [*self.marks, *([(self.step, new)] if new else [])]})

    def encode(self, paused: bool, saved_s: float) -> bytes:
        """The file.

        Args:
            paused: whether a person paused the run.
            saved_s: Unix time of now.
        """
        header = self.model_copy(update={
            "request": self.request.with_pictures({}),
            "format": FORMAT, "paused": paused, "saved_s": saved_s,
            "strides": {name: value.stride() for name, value in self.tensors.items()
                        if not value.is_contiguous()}}).model_dump_json()
        tensors = {name: value.contiguous() for name, value in self.tensors.items()}
        for name, data in self.request.pictures.items():
            tensors[name] = _bytes_tensor(data)
        for number, frame in enumerate(self.frames):
            tensors[f"{_FRAME}{number:03d}"] = _bytes_tensor(frame)
        return save(tensors, {_HEADER: header, _SHA256: _digest(header, tensors)})

    @classmethod
    def decode(cls, data: bytes) -> SavedRun:
        """Read a file.

        Raises:
            PausedRunError: it is damaged, or of a newer Easel.
        """
        try:
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8:8 + length])["__metadata__"]
            text, digest = str(metadata[_HEADER]), str(metadata[_SHA256])
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            raise PausedRunError(DAMAGED) from None
        if digest != _digest(text, tensors):
            raise PausedRunError(DAMAGED)
        found = _read_header(text)
        for name, strides in found.strides.items():
            tensors[name] = _laid_out(tensors.get(name), strides)
        frames = [tensors.pop(name) for name in sorted(tensors) if name.startswith(_FRAME)]
        pictures = {name: tensors.pop(name).numpy().tobytes() for name in list(tensors)
                    if name in (INIT_IMAGE, MASK) or name.startswith(IMAGE_PROMPT)}
        request = found.request.with_pictures(pictures)
        return found.model_copy(update={
            "request": request, "tensors": tensors,
            "frames": tuple(frame.numpy().tobytes() for frame in frames[:MAX_FRAMES])})


def _read_header(text: str) -> SavedRun:
    try:
        found = json.loads(text)
        if isinstance(found, dict) and found.get("format") != FORMAT \
                and isinstance(found.get("format"), int):
            raise PausedRunError(OTHER_VERSION)
        return SavedRun.model_validate(found)
    except (ValueError, ValidationError, RecursionError):
        raise PausedRunError(DAMAGED) from None


def _laid_out(value: Tensor | None, strides: tuple[int, ...]) -> Tensor:
    """A tensor with the same elements and these strides."""
    if value is None or len(strides) != value.ndim or any(stride < 0 for stride in strides) or sum(
            (size - 1) * stride for size, stride in zip(value.shape, strides, strict=True)
    ) >= value.numel():
        raise PausedRunError(DAMAGED)
    return torch.empty_strided(value.shape, strides, dtype=value.dtype).copy_(value)


def _bytes_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header and of all tensors with their names, dtypes and shapes."""
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
