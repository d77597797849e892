"""The concepts that the embedded models know, with the words people use for them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONCEPTS_PATH = Path(__file__).with_name("concepts.toml")


@dataclass(frozen=True)
class Concept:
    """One thing that can be drawn and named.

    Attributes:
        id: Stable lower-case key, such as ``"car"`` or ``"man-teacher"``.
        hex: Emoji code points in lower-case hexadecimal joined by ``-``, with joiners, without
            ``fe0f``.
        fluent: File stem in fluentui-emoji's ``icons/modern``.
        names: English singular noun phrases without article; the first is the one shown.
        plurals: English plurals, in the order of ``names``.
        articles: ``"a"``, ``"an"``, ``"some"`` or ``"a pair of"``, in the order of ``names``.
        pt: Portuguese singular noun phrases; all have the gender ``pt_gender``.
        pt_plurals: Portuguese plurals, in the order of ``pt``.
        pt_gender: ``"m"`` or ``"f"``.
        group: Family of the concept, such as ``"animal"`` or ``"person"``.
        coco: Whether the concept is one of COCO's 80 classes.
        colours: Whether it makes sense to recolour it ("a blue car").
        native_colour: The colour it has by itself (apple: red), or None when mixed.
        role: For people, what they are ("teacher"), of whatever gender; else None.
        role_names: ``role`` and its synonyms.
        gender: ``"man"``, ``"woman"`` or None.
        age: ``"young"``, ``"adult"``, ``"old"`` or None where it means nothing.
        broader: Ids of concepts of which this is a kind (a taxi is a car).
    """

    id: str
    hex: str
    fluent: str
    names: tuple[str, ...]
    plurals: tuple[str, ...]
    articles: tuple[str, ...]
    pt: tuple[str, ...]
    pt_plurals: tuple[str, ...]
    pt_gender: str
    group: str
    coco: bool = False
    colours: bool = True
    native_colour: str | None = None
    role: str | None = None
    role_names: tuple[str, ...] = ()
    gender: str | None = None
    age: str | None = None
    broader: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self.names[0]

    @property
    def article(self) -> str:
        """The article of the name shown to people."""
        return self.articles[0]


def _from_table(table: Mapping[str, object]) -> Concept:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    concept = Concept(**values)  # type: ignore[arg-type]
    lengths = {len(concept.names), len(concept.plurals), len(concept.articles)}
    if len(lengths) > 1 or len(concept.pt) != len(concept.pt_plurals):
        raise ValueError(f"concept {concept.id}: names, plurals and articles differ in number")
    return concept


@functools.cache
def load_concepts(path: Path = CONCEPTS_PATH) -> tuple[Concept, ...]:
    """Reads every concept, in file order.

    Raises:
        ValueError: Two concepts share an id, or a concept has names without a plural.
    """
    with path.open("rb") as file:
        concepts = tuple(_from_table(table) for table in tomllib.load(file)["concept"])
    ids = {concept.id for concept in concepts}
    if len(ids) < len(concepts):
        raise ValueError(f"{path.name}: two concepts share an id")
    return concepts


def concepts_by_id(path: Path = CONCEPTS_PATH) -> dict[str, Concept]:
    """Every concept under its id."""
    return {concept.id: concept for concept in load_concepts(path)}
