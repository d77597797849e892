"""The pictures that ``compose`` judges, drawn through the backend and kept in ``runs/compose``.

A prompt's pictures are kept as one strip, so that a run may be cut off, go on, or be judged and
ranked again by a better judge or ranker without drawing anything twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.tasks import TaskPrompt
from pipelines.core.events import Event, Result
from pipelines.core.request import SEED_COUNT, CheckedRequest
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry

RUNS_DIR = Path(__file__).resolve().parents[1] / "runs" / "compose"


class DrawingBackend(Protocol):
    """What is asked of a backend here."""

    registry: Registry

    def stream(self, request: CheckedRequest[Any]) -> Generator[Event, None, None]:
        """See ``Backend.stream``."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Pictures of one prompt.

    Attributes:
        images: (N, H, W, 3) uint8, in the order of their seeds.
        seconds: that drawing and ranking them took.
    """

    images: np.ndarray
    seconds: float


def prompt_seed(prompt: TaskPrompt) -> int:
    """The seed of a prompt's first picture, always the same; picture i has the i-th after it."""
    digest = hashlib.sha256(f"compose/{prompt.text}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class PictureStore:
    """Pictures of one pipeline with one set of weights and options.

    Args:
        backend: where to draw.
        pipeline: the pipeline's name.
        options: its options, where they differ from the defaults; those count as well, so that
            another default starts afresh.
        fingerprints: SHA-256 of the pipeline's weights by model, so that retrained models start
            afresh; the ranker's does not count, as no picture depends on it.
        folder: where stores are kept.
    """

    def __init__(self, backend: DrawingBackend, pipeline: str, options: Mapping[str, Any],
                 fingerprints: Mapping[str, str | None], folder: Path = RUNS_DIR) -> None:
        self.backend, self.pipeline, self.options = backend, pipeline, dict(options)
        weights = {name: sha for name, sha in fingerprints.items() if name != RANKER}
        usual = backend.registry.get(pipeline).Options().model_dump()
        key = json.dumps([usual | self.options, weights], sort_keys=True)
        self.folder = folder / f"{pipeline}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "key.json").write_text(key + "\n")

    def _path(self, prompt: TaskPrompt) -> Path:
        digest = hashlib.sha256(prompt.text.encode()).hexdigest()[:12]
        return self.folder / f"{prompt.task}-{digest}.png"

    def read(self, prompt: TaskPrompt) -> Drawn | None:
        """The pictures kept for a prompt, None where there are none."""
        path = self._path(prompt)
        facts_path = path.with_suffix(".json")
        if not facts_path.exists():
            return None
        facts = json.loads(facts_path.read_text())
        with Image.open(path) as strip:
            pixels = np.asarray(strip.convert("RGB"))
        images = np.stack(np.split(pixels, facts["count"], axis=1))
        return Drawn(images, facts["seconds"])

    def draw(self, prompt: TaskPrompt, count: int) -> Drawn:
        """At least ``count`` pictures of a prompt, those kept already and the missing ones."""
        kept = self.read(prompt)
        have = len(kept.images) if kept else 0
        if kept is not None and have >= count:
            return kept
        started = time.monotonic()
        request = {"pipeline": self.pipeline, "prompt": prompt.text, "num_images": count - have,
                   "seed": (prompt_seed(prompt) + have) % SEED_COUNT, "options": self.options}
        events = self.backend.stream(self.backend.registry.check(request))
        result = [e for e in events if isinstance(e, Result)][-1]
        fresh = sorted(result.candidates, key=lambda c: c.index)
        images = np.stack([c.image for c in fresh])
        seconds = time.monotonic() - started
        if kept is not None:
            images, seconds = np.concatenate([kept.images, images]), seconds + kept.seconds
        self._write(prompt, drawn := Drawn(images, seconds))
        return drawn

    def _write(self, prompt: TaskPrompt, drawn: Drawn) -> None:
        path = self._path(prompt)
        temporary = path.with_suffix(".tmp")
        Image.fromarray(np.concatenate(list(drawn.images), axis=1)).save(temporary, "PNG")
        facts = {"prompt": prompt.text, "count": len(drawn.images), "seconds": drawn.seconds}
        facts_path = path.with_suffix(".json")
        # Facts that are one picture short of their strip would cut it wrongly.
        facts_path.unlink(missing_ok=True)
        os.replace(temporary, path)
        temporary.write_text(json.dumps(facts) + "\n")
        os.replace(temporary, facts_path)

    def fill(self, prompts: Iterable[tuple[TaskPrompt, int]], minutes: float | None) -> None:
        """Draw what is missing, with progress and the time left, for at most ``minutes``."""
        wanted = list(prompts)
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        bar = tqdm(wanted, desc=self.pipeline, unit="prompt", mininterval=5)
        for prompt, count in bar:
            if deadline is not None and time.monotonic() > deadline:
                print(f"{self.pipeline}: stopped after {minutes} minutes; the same command goes on")
                break
            self.draw(prompt, count)
        bar.close()


def interleaved(prompts: Mapping[str, Sequence[TaskPrompt]]) -> list[TaskPrompt]:
    """Prompts of all tasks in turn, so that a run cut short has some of each."""
    longest = max(len(group) for group in prompts.values())
    return [group[i] for i in range(longest) for group in prompts.values() if i < len(group)]
