"""The prompts of ``compose`` in Portuguese, put together here as the English ones are.

Each asks for the same things as its English prompt, so that the two languages compare prompt by
prompt. Every word is the first that the world's grammar has for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.tasks import TaskPrompt, Wanted
from pipelines.world.concepts import Concept
from pipelines.world.grammar import raw_grammar
from pipelines.world.noun_phrases import inflect

RELATIONS = {"left of": "à esquerda de", "right of": "à direita de", "above": "acima de",
             "below": "abaixo de"}


def _word(choices: list[list]) -> str:
    return str(choices[0][1])


def noun(concept: Concept, colour: str | None = None) -> str:
    """A concept's first name with its article, such as "uma maçã vermelha"."""
    article = "uma" if concept.pt_gender == "f" else "um"
    words = [article, concept.pt[0]]
    if colour is not None:
        adjective = _word(raw_grammar()["pt"]["colours"][colour])
        words.append(inflect(adjective, concept.pt_gender, plural=False))
    return " ".join(words)


def _counted(wanted: Wanted, concept: Concept) -> str:
    masculine, _, feminine = _word(raw_grammar()["pt"]["numbers"][str(wanted.count)]).partition("|")
    number = feminine if feminine and concept.pt_gender == "f" else masculine
    return f"{number} {concept.pt_plurals[0]}"


def in_portuguese(prompt: TaskPrompt, concepts: Mapping[str, Concept]) -> TaskPrompt:
    """The same prompt in Portuguese.

    Args:
        prompt: in any language.
        concepts: by id.
    """
    things = [_counted(w, concepts[w.concept]) if w.count > 1
              else noun(concepts[w.concept], w.colour) for w in prompt.wanted]
    join = f" {RELATIONS[prompt.relation]} " if prompt.relation else " e "
    return replace(prompt, text=f"uma foto de {join.join(things)}", language="pt")
