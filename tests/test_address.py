"""Settings of Generate that an address brings: what is taken, what is told, what is left."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from easel.ui.generate.address import MAX_QUERY_CHARS, MAX_SETTINGS, Linked, read_address
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.texts import fault_of
from pipelines.dalle import DallePipeline
from pipelines.registry import Registry
from pipelines.unclip.pipeline import UnclipPipeline


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.register(DallePipeline())
    made.register(UnclipPipeline())
    made.register(Waiting(), lambda: False)
    return made


class Waiting(DallePipeline):
    name, title = "waiting", "Waiting"


def test_settings_are_read_as_what_they_are(registry: Registry) -> None:
    found = read_address("?prompt=a+cat&seed=7&best=16&generators=dalle*2+unclip&dalle.temperature="
                         "1.5&dalle.top_k=0&dalle.negative_prompt=a+dog&tab=generate&present=",
                         registry)
    assert (found.seed, found.best_of) == (7, 16)
    assert found.counts == {"dalle": 2, "unclip": None}
    assert found.options == {"dalle": {"temperature": 1.5, "top_k": 0, "negative_prompt": "a dog"}}
    assert (found.unknown, found.refused) == ([], [])
    assert found.note() == ("From the address: seed 7, Best of 16, DALL·E × 2, unCLIP, DALL·E: "
                            "Temperature, DALL·E: Top k, DALL·E: Negative prompt.")


def test_what_is_of_others_says_nothing(registry: Registry) -> None:
    found = read_address("?prompt=x&tab=lab.search&lesson=4&present&__theme=dark&__sign=abc",
                         registry)
    assert found == Linked()


@pytest.mark.parametrize(("query", "refused"), [
    ("seed=-1", "Seed must be a whole number between 0 and 4294967295, not -1."),
    ("seed=4294967296", "Seed must be a whole number between 0 and 4294967295, not 4294967296."),
    ("seed=", "Seed must be a whole number between 0 and 4294967295, not ."),
    ("seed=%D9%A3", "Seed must be a whole number between 0 and 4294967295, not ٣."),
    ("best=129", "Best of must be a whole number between 0 and 128, not 129."),
    ("generators=dalle*17", "Pictures must be a whole number between 1 and 16, not 17."),
    ("dalle.temperature=9", "Temperature must be a number between 0.1 and 2, not 9."),
    ("dalle.temperature=hot", "Temperature must be a number between 0.1 and 2, not 'hot'."),
    ("dalle.top_k=nan", "Top k must be a whole number between 0 and 1024, not 'nan'."),
])
def test_what_is_out_of_range_is_told_and_left(registry: Registry, query: str,
                                               refused: str) -> None:
    found = read_address(query, registry)
    assert found.refused == [refused]
    assert (found.seed, found.best_of, found.options) == (None, None, {})
    assert f"Left as it was: {refused}" in found.note()


def test_a_fault_takes_nothing_else_along(registry: Registry) -> None:
    found = read_address("dalle.temperature=9&dalle.top_k=3&generators=dalle*99+nobody+unclip",
                         registry)
    assert found.options == {"dalle": {"top_k": 3}}
    assert found.counts == {"dalle": None, "unclip": None}
    assert len(found.refused) == 2
    assert found.unknown == ["nobody"]


@pytest.mark.parametrize("query", [
    "hat=1", "dalle.hat=1", "nobody.temperature=1", "dalle.=1", ".=1", "generators=waiting",
    "waiting.temperature=1", "dalle.__class__=1", "image=%2Fetc%2Fpasswd", "run=1"])
def test_what_there_is_not_is_told_and_left(registry: Registry, query: str) -> None:
    found = read_address(query, registry)
    assert len(found.unknown) == 1
    assert found == Linked(unknown=found.unknown)
    assert found.note().startswith("From the address: nothing that fits. Not known here, and so "
                                   "left out: ")


@pytest.mark.parametrize("query", [
    "%00=1&dalle.negative_prompt=a%00+dog&seed=%00", "\ud800=1&dalle.negative_prompt=a\ud800+dog"
    "&seed=\udfff", "%ED%A0%80=1&dalle.negative_prompt=a+dog&seed=%C3"])
def test_what_no_text_may_hold_is_left_out(registry: Registry, query: str) -> None:
    """The page could not be told of it: JSON holds no half character, no field NUL."""
    found = read_address(query, registry)
    assert found.options == {"dalle": {"negative_prompt": "a dog"}}
    assert len(found.unknown) == len(found.refused) == 1
    assert fault_of(found.note()) is None


@pytest.mark.parametrize("query", [
    "seed=1&" + "x" * MAX_QUERY_CHARS, urlencode({f"x{n}": 1 for n in range(MAX_SETTINGS + 1)})])
def test_an_address_without_end_is_not_read(registry: Registry, query: str) -> None:
    found = read_address(query, registry)
    assert found.seed is None
    assert found.refused == ["The address is too long: 4000 characters and 200 settings are the "
                             "most, and so none of its settings was taken."]


def test_many_unknown_names_are_counted_and_long_ones_cut(registry: Registry) -> None:
    found = read_address(urlencode({f"setting{n} {'x' * 60}": 1 for n in range(12)}), registry)
    assert found.note().endswith(", 2 more.")
    assert all(len(name) <= 40 for name in found.unknown)


def test_it_is_told_in_the_language_of_the_visitor(registry: Registry) -> None:
    with speaking(PORTUGUESE):
        said = read_address("seed=7&dalle.temperature=9&hat=1", registry).note()
    assert said == ("Do endereço: semente 7. Não conhecidos aqui, e por isso deixados de fora: "
                    "hat. Ficou como estava: Temperatura deve ser um número entre 0.1 e 2, não 9.")
