"""The prompts that the page itself offers, drawn and judged: chips, samples and surprises.

Whoever presses one of them should get what it says. ``python -m benchmarks chips`` draws all of
them with the present models, asks the judge, and lays the pictures out to be looked at.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.judge.files import TrainedJudge
from benchmarks.pictures import RUNS_DIR
from benchmarks.scoring import score
from benchmarks.sheets import contact_sheet
from benchmarks.tasks import PERSON, RELATIONS, TaskPrompt, Wanted
from easel.serving.interface import Backend
from easel.ui.generate.examples import EXAMPLES
from easel.ui.generate.surprises import surprise
from pipelines.core.events import Result
from pipelines.world.concepts import Concept, concepts_by_id
from pipelines.world.scenes import COLOURS

SEED = 2026
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True)
class Drawn:
    """What came of a prompt.

    Attributes:
        prompt: the text.
        pipeline: who drew.
        best_right: whether the judge holds the picture that CLIP puts first to be right.
        right: how many of the pictures are.
        pictures: how many were drawn.
    """

    prompt: str
    pipeline: str
    best_right: bool
    right: int
    pictures: int


def offered() -> list[str]:
    """Every chip of the page, in its order."""
    return [prompt for prompts in EXAMPLES.values() for prompt in prompts]


def surprises(count: int) -> list[str]:
    """As many prompts as ``Surprise me`` says, always the same ones."""
    rng = random.Random(SEED)
    return [surprise(rng) for _ in range(count)]


def asked_for(text: str) -> TaskPrompt:
    """What an English prompt in the grammar of the captions asks for, by the names in it."""
    words = re.findall(r"[^\s,]+", text.lower())
    concepts = concepts_by_id()
    # A role alone says no gender: any person will do.
    names = {name: concepts[PERSON] for concept in concepts.values() for role in concept.role_names
             for name in (role, f"{role}s")}
    names |= {name: concept for concept in concepts.values()
              for name in (*concept.names, *concept.plurals)}
    longest = max(name.count(" ") for name in names) + 1
    wanted, at = [], 0
    while at < len(words):
        size = next((size for size in range(longest, 0, -1)
                     if " ".join(words[at:at + size]) in names), 0)
        if size:
            wanted.append(_wanted(names[" ".join(words[at:at + size])], words[:at]))
        at += size or 1
    relation = next((each for each in RELATIONS if f" {each} " in f" {text} "), None)
    task = "counting" if any(each.count > 1 for each in wanted) else "position"
    return TaskPrompt(task, text, tuple(wanted), relation if len(wanted) == 2 else None)


def _wanted(concept: Concept, before: Sequence[str]) -> Wanted:
    last = list(before[-2:])
    colour = last[-1] if last and last[-1] in COLOURS else None
    number = next((NUMBERS[word] for word in last if word in NUMBERS), 1)
    return Wanted(concept.id, number, colour)


def draw_chips(prompts: Sequence[str], pipeline: str, num_images: int, backend: Backend,
               judge: TrainedJudge) -> Iterator[tuple[Drawn, np.ndarray]]:
    """Draw prompts and judge the pictures.

    Args:
        prompts: English ones.
        pipeline: the generator's name.
        num_images: how many pictures of each.
        backend: where they are drawn.
        judge: who looks.

    Yields:
        What came of each prompt, and the picture that CLIP puts first, (H, W, 3) uint8.
    """
    concepts = concepts_by_id()
    for prompt in prompts:
        request = backend.registry.check({"pipeline": pipeline, "prompt": prompt,
                                          "num_images": num_images, "seed": SEED})
        result = next(e for e in backend.stream(request) if isinstance(e, Result))
        images = np.stack([candidate.image for candidate in result.candidates])
        task = asked_for(prompt)
        right = [score(task, verdict, concepts).correct
                 for verdict in judge(torch.from_numpy(images))]
        yield Drawn(prompt, pipeline, right[0], sum(right), len(right)), images[0]


def chip_figures(pipelines: Sequence[str], num_images: int, count: int, backend: Backend,
                 judge: TrainedJudge, folder: Path = RUNS_DIR.parent / "chips") -> dict:
    """Draw every chip and some surprises with each generator; the sheets go to ``folder``.

    Args:
        pipelines: names of generators.
        num_images: pictures a prompt.
        count: how many surprises.
        backend: where they are drawn.
        judge: who looks.
        folder: where a contact sheet of each generator goes.
    """
    found: dict[str, list[dict]] = {}
    prompts = [*offered(), *surprises(count)]
    for name in pipelines:
        cells = []
        for drawn, image in draw_chips(prompts, name, num_images, backend, judge):
            found.setdefault(name, []).append(asdict(drawn))
            cells.append((image, drawn.prompt, drawn.best_right))
            print(f"{name}: {drawn.prompt}: {drawn.right} of {drawn.pictures}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        contact_sheet(cells, folder / f"{name}.webp")
    return found
