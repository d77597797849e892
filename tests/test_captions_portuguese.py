"""Portuguese captions agree: articles, numbers and colours with every noun."""

from __future__ import annotations

import random
import re

import pytest

from pipelines.world.captions import caption
from pipelines.world.concepts import Concept
from pipelines.world.grammar import raw_grammar
from pipelines.world.noun_phrases import inflect
from pipelines.world.scenes import Scene
from tests.captioned import concepts, picture, sayings, thing

__all__ = ["concepts"]


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        (
            picture("single", thing("car", colour="blue")),
            {"um carro azul", "uma foto de um carro azul"},
        ),
        (
            picture("single", thing("apple", colour="red"), place="beach"),
            {"uma maçã vermelha na praia"},
        ),
        (picture("count", thing("dog"), thing("dog")), {"dois cachorros", "uma foto de dois cães"}),
        (picture("count", *[thing("apple", colour="yellow")] * 2), {"duas maçãs amarelas"}),
        (picture("count", *[thing("car", colour="blue")] * 3), {"três carros azuis"}),
        (
            picture("relation", thing("cat"), thing("chair"), relation="on top of"),
            {"um gato em cima de uma cadeira"},
        ),
        (
            picture("relation", thing("dog"), thing("bicycle"), relation="left of"),
            {"um cachorro à esquerda de uma bicicleta"},
        ),
        (
            picture("single", thing("dog"), place="desert", medium="oil"),
            {"uma pintura a óleo de um cachorro no deserto"},
        ),
    ],
)
def test_portuguese_agrees(concepts: dict[str, Concept], scene: Scene, wanted: set[str]) -> None:
    assert wanted <= set(sayings(scene, concepts, 500, "pt"))


def test_portuguese_articles_and_colours_agree_with_every_noun(
    concepts: dict[str, Concept],
) -> None:
    colours = raw_grammar()["pt"]["colours"]
    for i, concept in enumerate(c for c in concepts.values() if c.colours):
        colour = list(colours)[i % len(colours)]
        text = caption(
            picture("single", thing(concept.id, colour=colour)), concepts, random.Random(i), "pt"
        )
        words = {inflect(word, concept.pt_gender, False) for _, word in colours[colour]}
        assert any(f"{name} {word}" in text for name in concept.pt for word in words) or re.search(
            "lind|bonit", text
        ), text
        articles = set(re.findall(rf"\b(um|uma) (?:{'|'.join(concept.pt)})", text))
        assert articles <= {"uma" if concept.pt_gender == "f" else "um"}, text
