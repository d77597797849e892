"""Every option of every generator that ships, given what no such option may be."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.core.errors import InvalidRequest
from pipelines.core.options import OptionField, option_fields, parse_options
from pipelines.registry import Registry, build_registry

NAN, INF = float("nan"), float("inf")
NOT_NUMBERS: tuple[Any, ...] = (NAN, INF, -INF, "nan", "many", [1], {"a": 1}, 10**400)


def wrong_values(option: OptionField) -> list[Any]:
    """What this option must refuse."""
    if option.kind == "choice":
        return ["nothing of the kind", NAN, -1, ["a"], {"a": 1}, "<script>", 10**400]
    if option.kind == "bool":
        return ["perhaps", NAN, 2, -1, [True], {"a": 1}]
    if option.kind == "text":
        return [NAN, 5, ["a"], {"a": 1}, "x" * 1_000_000]
    wrong = list(NOT_NUMBERS)
    if option.minimum is not None:
        wrong += [option.minimum - 1, -10**9]
    if option.maximum is not None:
        wrong += [option.maximum + 1, 10**12]
    return [*wrong, 0.123456789] if option.kind == "int" else wrong


def cases() -> list[Any]:
    registry = build_registry()
    return [pytest.param(pipeline.name, option, id=f"{pipeline.name}-{option.name}")
            for pipeline in registry for option in option_fields(pipeline.Options)]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return build_registry()


@pytest.mark.parametrize(("name", "option"), cases())
def test_every_option_refuses_what_it_cannot_be(registry: Registry, name: str, option: OptionField,
                                                ) -> None:
    for value in wrong_values(option):
        with pytest.raises(InvalidRequest) as caught:
            registry.check({"pipeline": name, "prompt": "a red apple",
                      "options": {option.name: value}})
        sentence = str(caught.value)
        assert caught.value.field in (option.name, "options"), value
        assert sentence.endswith("."), value
        assert "\n" not in sentence
        assert len(sentence) < 300


def test_a_text_of_an_option_holds_no_nul(registry: Registry) -> None:
    """No database, file of presets or answer could hold it."""
    texts = [(pipeline, option) for pipeline in registry
             for option in option_fields(pipeline.Options) if option.kind == "text"]
    assert {option.name for _, option in texts} >= {"negative_prompt"}
    for pipeline, option in texts:
        with pytest.raises(InvalidRequest, match=r" holds a NUL character, which no text has\.$"):
            parse_options(pipeline.Options, {option.name: "a\0dog"})


def test_every_number_has_bounds(registry: Registry) -> None:
    """A number without bounds would let anybody ask for a run without end."""
    loose = [f"{pipeline.name}.{option.name}" for pipeline in registry
             for option in option_fields(pipeline.Options)
             if option.kind in ("int", "float") and (option.minimum is None
                                                     or option.maximum is None)]
    assert loose == []


@pytest.mark.parametrize("parents", [["x"], "a" * 32, [5], ["A" * 32], ["a" * 32] * 9, [NAN]])
def test_parents_are_ids(registry: Registry, parents: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        registry.check({"pipeline": "dalle", "prompt": "a cat", "parents": parents})
    assert caught.value.field == "parents"
