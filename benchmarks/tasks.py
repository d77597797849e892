"""The prompts of ``compose``: GenEval's six tasks about the things of our world.

The sentences are GenEval's own ("a photo of a dog right of a bench"), put together here and not
by the grammar of the training captions. Objects are COCO's classes, as there; one more task,
reported apart, asks for every concept of the world by name.

Source: Ghosh et al., "GenEval: An Object-Focused Framework for Evaluating Text-to-Image
Alignment" (2023), section 3.1.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.world.concepts import Concept, load_concepts
from pipelines.world.layouts import place
from pipelines.world.scenes import (
    COLOURS,
    Scene,
    SceneSampler,
    is_held_out_pair,
    is_held_out_triple,
    styles_for,
)

TASKS = ("single_object", "two_objects", "counting", "colours", "position", "attribution")
WORLD_TASK = "single_object_world"
# The tasks whose combinations may be held out from training.
COMBINED_TASKS = ("colours", "position", "attribution")
PROMPTS_PER_TASK = 64
HELD_OUT_EVERY = 4
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {2: "two", 3: "three", 4: "four"}
PERSON = "person"


@dataclass(frozen=True)
class Wanted:
    """One thing that a prompt asks for: ``count`` of a concept, in a colour where one is said."""

    concept: str
    count: int = 1
    colour: str | None = None


@dataclass(frozen=True)
class TaskPrompt:
    """A prompt and what a picture of it must hold.

    Attributes:
        task: one of ``TASKS``, or ``WORLD_TASK``.
        text: the prompt.
        wanted: the things asked for, all of different concepts.
        relation: of the first thing to the second, or None.
        held_out: whether it holds a combination that no training ever showed.
        language: of ``text``.
    """

    task: str
    text: str
    wanted: tuple[Wanted, ...]
    relation: str | None = None
    held_out: bool = False
    language: str = "en"


def noun(concept: Concept, colour: str | None = None) -> str:
    """The concept's primary name with its article, such as "an orange car"."""
    article = concept.article
    if colour is not None and article in ("a", "an"):
        article = "an" if colour[0] in "aeiou" else "a"
    return " ".join(part for part in (article, colour, concept.name) if part)


def accepts(wanted: str, shown: str, concepts: Mapping[str, Concept]) -> bool:
    """Whether a picture of ``shown`` answers a prompt for ``wanted`` (both are concept ids).

    Besides the concept itself, its kinds do (a duck is a bird, by ``Concept.broader``), and any
    role is a person. Nothing else is held to be the same.
    """
    if wanted == shown or wanted in concepts[shown].broader:
        return True
    return wanted == PERSON and concepts[shown].group == PERSON


def _distinct(pair: Sequence[Concept], concepts: Mapping[str, Concept]) -> bool:
    first, second = pair
    return not (accepts(first.id, second.id, concepts) or accepts(second.id, first.id, concepts))


class _Grammar:
    """Builds one random prompt of each task from COCO's classes."""

    def __init__(self, concepts: Mapping[str, Concept]) -> None:
        self.concepts = concepts
        self.things = [c for c in concepts.values() if c.coco]
        self.counted = [c for c in self.things if c.article in ("a", "an")]
        self.painted = [c for c in self.things if c.colours]

    def pair(self, things: Sequence[Concept], rng: random.Random) -> tuple[Concept, Concept]:
        while True:
            first, second = rng.sample(list(things), 2)
            if _distinct((first, second), self.concepts):
                return first, second

    def two_objects(self, rng: random.Random) -> TaskPrompt:
        a, b = self.pair(self.things, rng)
        return TaskPrompt("two_objects", f"a photo of {noun(a)} and {noun(b)}",
                          (Wanted(a.id), Wanted(b.id)))

    def counting(self, rng: random.Random) -> TaskPrompt:
        concept, number = rng.choice(self.counted), rng.choice(list(NUMBERS))
        return TaskPrompt("counting", f"a photo of {NUMBERS[number]} {concept.plurals[0]}",
                          (Wanted(concept.id, number),))

    def colours(self, rng: random.Random) -> TaskPrompt:
        concept, colour = rng.choice(self.painted), rng.choice(COLOURS)
        return TaskPrompt("colours", f"a photo of {noun(concept, colour)}",
                          (Wanted(concept.id, colour=colour),),
                          held_out=is_held_out_pair(concept.id, colour))

    def position(self, rng: random.Random) -> TaskPrompt:
        a, b = self.pair(self.things, rng)
        relation = rng.choice(RELATIONS)
        return TaskPrompt("position", f"a photo of {noun(a)} {relation} {noun(b)}",
                          (Wanted(a.id), Wanted(b.id)), relation,
                          is_held_out_triple(a.id, relation, b.id))

    def attribution(self, rng: random.Random) -> TaskPrompt:
        a, b = self.pair(self.painted, rng)
        first, second = rng.sample(COLOURS, 2)
        return TaskPrompt("attribution", f"a photo of {noun(a, first)} and {noun(b, second)}",
                          (Wanted(a.id, colour=first), Wanted(b.id, colour=second)),
                          held_out=is_held_out_pair(a.id, first) or is_held_out_pair(b.id, second))


def _collect(draw: Callable[[random.Random], TaskPrompt], task: str, stream: str = "compose",
             without: Iterable[TaskPrompt] = ()) -> list[TaskPrompt]:
    """Distinct prompts; of those with combinations every fourth is a held-out one."""
    rng = random.Random(f"{stream}/{task}")
    found: list[TaskPrompt] = []
    texts = {prompt.text for prompt in without}
    while len(found) < PROMPTS_PER_TASK:
        prompt = draw(rng)
        due = task in COMBINED_TASKS and len(found) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        if prompt.text not in texts and prompt.held_out == due:
            found.append(prompt)
            texts.add(prompt.text)
    return found


def _singles(task: str, things: Iterable[Concept]) -> list[TaskPrompt]:
    prompts = [TaskPrompt(task, f"a photo of {noun(c)}", (Wanted(c.id),)) for c in things]
    random.Random(f"compose/{task}").shuffle(prompts)
    return prompts


def task_prompts(concepts: Mapping[str, Concept]) -> dict[str, list[TaskPrompt]]:
    """All prompts by task, always the same; for Portuguese ones see ``benchmarks.portuguese``.

    Args:
        concepts: by id.
    """
    grammar = _Grammar(concepts)
    prompts = {"single_object": _singles("single_object", grammar.things)}
    for task in TASKS[1:]:
        prompts[task] = _collect(getattr(grammar, task), task)
    prompts[WORLD_TASK] = _singles(WORLD_TASK, concepts.values())
    return prompts


def tuning_prompts(concepts: Mapping[str, Concept]) -> dict[str, list[TaskPrompt]]:
    """Prompts of the six tasks to choose options by: none of them is one of ``task_prompts``.

    Single objects are the world's other concepts, those that GenEval does not name.
    """
    grammar, measured = _Grammar(concepts), task_prompts(concepts)
    prompts = {"single_object": _singles("single_object", (c for c in concepts.values()
                                                           if not c.coco))}
    for task in TASKS[1:]:
        prompts[task] = _collect(getattr(grammar, task), task, "tuning", measured[task])
    return prompts


@functools.cache
def _world() -> SceneSampler:
    return SceneSampler(load_concepts(), "compose")


def scene_of(prompt: TaskPrompt, salt: int = 0) -> Scene:
    """A scene that shows what the prompt asks for, in any style, place and size as in training.

    Args:
        prompt: the prompt.
        salt: another one gives another layout, art style or background.
    """
    rng = random.Random(f"compose/scene/{prompt.text}/{salt}")
    concepts = [(w.concept, w.colour) for w in prompt.wanted for _ in range(w.count)]
    kind = {"counting": "count", "position": "relation"}.get(
        prompt.task, "single" if len(concepts) == 1 else "pair")
    ids, colours = [c for c, _ in concepts], [colour for _, colour in concepts]
    sampler = _world()
    painted = any(colour and colour != sampler.by_id[c].native_colour for c, colour in concepts)
    style = rng.choice(styles_for(ids, None, painted))
    boxes = place(kind, prompt.relation, len(concepts), rng)
    objects = sampler.dress(ids, colours, boxes, style, None, rng, alike=kind == "count")
    background = sampler.behind(rng, kind)
    return Scene(kind, objects, prompt.relation, background, False, None, rng.randrange(1000))
