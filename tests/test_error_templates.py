"""Sentences for users are made of a template and values, so that they can be said in any language:
no error is given a text that was put together before."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from easel.words.language import PORTUGUESE, say, speaking
from pipelines.core.sentences import Sentence, several
from tests.conftest import REPOSITORY
from tests.page_texts import error_classes

MAKER = "pipelines/core/sentences.py"  # puts templates together, of which it keeps the values
MENDERS = ("join", "format", "format_map", "replace")


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_put_together(node: ast.expr) -> bool:
    """Whether an expression is a text with values in it: an f-string, a sum, a join or the like."""
    if isinstance(node, ast.IfExp):
        return is_put_together(node.body) or is_put_together(node.orelse)
    if isinstance(node, ast.BoolOp):
        return any(map(is_put_together, node.values))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in MENDERS
    return isinstance(node, ast.JoinedStr | ast.BinOp)


def finished(tree: ast.Module, names: set[str]) -> Iterator[int]:
    """Lines where an error or a sentence gets a finished text, by itself or by a local name."""
    for node in ast.walk(tree):
        body = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
        local = {target.id for part in body for each in ast.walk(part)
                 if isinstance(each, ast.Assign) and is_put_together(each.value)
                 for target in each.targets if isinstance(target, ast.Name)}
        for part in body or ([node] if isinstance(node, ast.Call) else []):
            for call in ast.walk(part):
                if isinstance(call, ast.Call) and call.args and name_of(call.func) in names and (
                        is_put_together(call.args[0]) or name_of(call.args[0]) in local):
                    yield call.lineno


def test_no_error_gets_a_finished_text() -> None:
    paths = [REPOSITORY / "app.py", *(path for floor in ("pipelines", "easel", "training",
                                                         "benchmarks")
                                      for path in sorted((REPOSITORY / floor).rglob("*.py")))]
    trees = {path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text("utf-8"))
             for path in paths}
    names = error_classes(trees.values()) | {"Sentence"}
    assert {"WeightsError", "InvalidRequest", "UnknownVisitor"} <= names
    assert sorted({f"{name}:{line}" for name, tree in trees.items() if name != MAKER
                   for line in finished(tree, names)}) == []


@pytest.mark.parametrize("made", [
    'f"The file {name} is damaged."', '" ".join(sentences)', '"The file %s" % name',
    '"The file {}".format(name)', '"The file " + name', 'a if b else f"No {c}."',
    '" ".join(found) or "Nothing."'])
def test_a_finished_text_is_found(made: str) -> None:
    names = error_classes([ast.parse("class Own(EaselError):\n    pass\n")])
    assert list(finished(ast.parse(f"error = Own({made})"), names))
    assert list(finished(ast.parse(f"def f():\n    said = {made}\n    raise Own(said)"), names))
    assert not list(finished(ast.parse(f'raise Own("No {{}}.", {made})'), names))


def test_several_sentences_are_each_said_in_the_language() -> None:
    stopped = Sentence("{} must be true or false, not {}.", "Seed", "x")
    both = several([stopped, "The job was stopped."])
    assert both == "Seed must be true or false, not x. The job was stopped."
    with speaking(PORTUGUESE):
        assert say(both) == f"{say(stopped)} {say('The job was stopped.')}" != both
