"""What the product has, the product uses: what only a test needs belongs to the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Called by those whose interface they fill in: torch, asyncio, Gradio, zipfile, alembic,
# prometheus, Ray, the installed command, the interpreter.
FOR_OTHERS = {"get_weight_dtype", "writelines", "_update_config", "_update_value_in_config",
              "writable", "choose_replicas", "down_revision", "collect", "console", "is_tracked",
              "record_autoscaling_stats", "_"}
# What turns a function into a handler, a command or a check that its library calls.
HANDED_OVER = ("command", "callback", "validator")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def defined(tree: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Names of functions, classes, constants and fields of a module and its classes."""
    for node in tree.body:
        if isinstance(node, Definition):
            if not any(way in ast.unparse(each) for each in node.decorator_list
                       for way in HANDED_OVER):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from defined(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (part.id for target in targets for part in ast.walk(target)
                        if isinstance(part, ast.Name))


def used(tree: ast.Module) -> Iterator[str]:
    """Names that are read, called or named by a text, docstrings apart."""
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
            if isinstance(node, Definition | ast.Module) and node.body
            and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and id(node) not in docstrings:
            yield from re.findall(r"[A-Za-z_]\w*", node.value)


def unused(sources: Iterable[str]) -> set[str]:
    """Names that are defined and used nowhere in these sources."""
    trees = [ast.parse(source) for source in sources]
    names = {name for tree in trees for name in defined(tree) if not name.startswith("__")}
    return names - {name for tree in trees for name in used(tree)} - FOR_OTHERS


def test_nothing_is_there_without_a_user() -> None:
    paths = [REPOSITORY / "app.py", *(path for floor in ("pipelines", "easel", "training",
                                                         "benchmarks")
                                      for path in sorted((REPOSITORY / floor).rglob("*.py")))]
    assert unused(map(Path.read_text, paths)) == set()


@pytest.mark.parametrize("source", [
    "def lonely():\n    pass\n", "class lonely:\n    pass\n", "lonely = 1\n",
    'class A:\n    def lonely(self):\n        "It is lonely."\n\n\nA()\n',
    'def f():\n    """See ``lonely``."""\n\n\ndef lonely():\n    f()\n'])
def test_what_has_no_user_is_found(source: str) -> None:
    assert unused([source]) == {"lonely"}
    assert unused([source, "print(x.lonely)\n"]) == set()
    assert unused([source, "LOADERS = {'a': 'module:lonely'}\nLOADERS['a']\n"]) == set()
