"""Every error is the same after pickling: on another machine it says and knows what it did here."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from easel.history.records import KeptLater
from pipelines.core.errors import Busy, EaselError, InvalidRequest, Paused
from pipelines.core.events import Candidate, Result
from pipelines.core.sentences import Sentence
from tests.conftest import REPOSITORY

RESULT = Result((Candidate(np.full((2, 2, 3), 7, np.uint8), 5, 0, {"clip": 0.25}),), 1.5,
                {"job_id": "a"})
# How those are made that do not take a sentence.
OTHERS = {"Paused": ("ab" * 16, 3, 10), "KeptLater": (RESULT,), "UnknownVisitor": ()}


def every_error() -> list[type[EaselError]]:
    """All kinds of errors of the engine and the application, found in their text."""
    classes: dict[str, tuple[str, set[str]]] = {}
    for path in (*REPOSITORY.glob("pipelines/**/*.py"), *REPOSITORY.glob("easel/**/*.py")):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                classes[node.name] = (module, bases)
    found, before = {"EaselError"}, set[str]()
    while found != before:
        before = set(found)
        found |= {name for name, (_, bases) in classes.items() if bases & found}
    return [getattr(importlib.import_module(classes[name][0]), name) for name in sorted(found)]


def made(kind: type[EaselError]) -> EaselError:
    if kind.__name__ in OTHERS:
        return kind(*OTHERS[kind.__name__])
    first = next(iter(inspect.signature(kind).parameters))
    assert first == "template", f"{kind.__name__} takes no sentence: add it to OTHERS"
    return kind("{} of {:,}: {}", "ä", 1500, Busy("{} ahead.", 3))


def again(error: EaselError) -> EaselError:
    return pickle.loads(pickle.dumps(error))


def test_every_error_survives_pickling() -> None:
    kinds = every_error()
    assert {*OTHERS, "InvalidImage", "VoteError", "IndexInUse"} <= {k.__name__ for k in kinds}
    for kind in kinds:
        error = made(kind)
        error.add_note("in the middle of a test")
        copy = again(error)
        assert type(copy) is kind
        assert (str(copy), copy.sentence.template) == (str(error), error.sentence.template)
        assert repr(copy.sentence.values) == repr(error.sentence.values)
        assert all(type(a) is type(b) for a, b in zip(copy.sentence.values, error.sentence.values,
                                                      strict=True))
        assert len(copy.args) == len(error.args)
        assert copy.__dict__.keys() == error.__dict__.keys()
        assert copy.__notes__ == ["in the middle of a test"]
        assert str(again(copy)) == str(error)  # as often as it is handed on


def test_what_an_error_knows_survives() -> None:
    paused = again(Paused("ab" * 16, 3, 10))
    assert isinstance(paused, Paused)
    assert (paused.run_id, paused.step, paused.total) == ("ab" * 16, 3, 10)
    invalid = again(InvalidRequest("{} is no seed.", "x", field="seed"))
    assert isinstance(invalid, InvalidRequest)
    assert (invalid.field, invalid.sentence.values) == ("seed", ("x",))
    later = again(KeptLater(RESULT))
    assert isinstance(later, KeptLater)
    assert np.array_equal(later.result.candidates[0].image, RESULT.candidates[0].image)
    assert later.result.metadata == RESULT.metadata
    nested = again(Busy("Not now: {}", Busy("{} ahead.", 3))).sentence.values[0]
    assert isinstance(nested, Sentence)
    assert (nested, nested.values) == ("3 ahead.", (3,))


class Stubborn(Exception):
    """An error as libraries have them, which pickle cannot make anew."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")


def raised(first: Exception, *then: Exception) -> EaselError:
    """The last of some errors, each raised from the one before."""
    error = first
    for each in then:
        try:
            raise each from error
        except Exception as caught:
            error = caught
    assert isinstance(error, EaselError)
    return error


def chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [f"{type(error).__name__}: {error}", *chain(error.__cause__)]


@pytest.mark.parametrize("errors", [
    (Busy("a"), Busy("b"), Busy("c")),
    (OSError(28, "No space left on device", "/data/x"), Busy("Full.")),
    (KeyError("a"), ValueError("b"), EaselError("{} c", 1), InvalidRequest("d"), Busy("e")),
], ids=["ours", "one", "many"])
def test_causes_survive(errors: tuple[Exception, ...]) -> None:
    error = raised(*errors)
    assert chain(again(error)) == chain(error)
    assert len(chain(again(error))) == len(errors)
    cause = again(error).__cause__
    assert not isinstance(cause, OSError) or cause.errno == 28


def test_a_cause_that_cannot_be_pickled_is_told() -> None:
    error = raised(Stubborn(7, "no luck"), ValueError("b"), Busy("Busy."))
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(Stubborn(7, "no luck")))
    assert chain(again(error)) == ["Busy: Busy.", "ValueError: b",
                                   "RuntimeError: Stubborn: no luck (7)"]


def test_from_none_and_circles() -> None:
    try:
        try:
            raise ValueError("a")
        except ValueError:
            raise Busy("Busy.") from None
    except Busy as error:
        quiet = again(error)
    assert quiet.__suppress_context__
    assert quiet.__cause__ is None
    assert not again(Busy("Busy.")).__suppress_context__
    for one in (ValueError("one"), Busy("One.")):
        other = Busy("Other.")
        one.__cause__, other.__cause__ = other, one
        assert chain(again(other)) == [f"Busy: {other}", f"{type(one).__name__}: {one}"]


def test_another_process_reads_the_same() -> None:
    invalid = InvalidRequest("{} of {:,}", "ä", 1500, field="seed")
    error = raised(OSError(2, "No such file"), invalid)
    read = ("import json, pickle, sys; e = pickle.load(sys.stdin.buffer); s = e.sentence; "
            "print(json.dumps([str(e), s.template, s.values, e.field, e.__cause__.errno]))")
    said = subprocess.run([sys.executable, "-c", read], input=pickle.dumps(error), cwd=REPOSITORY,
                          capture_output=True, check=True, timeout=300)
    assert json.loads(said.stdout) == ["ä of 1,500", "{} of {:,}", ["ä", 1500], "seed", 2]
