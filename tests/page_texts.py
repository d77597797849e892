"""Every text that the page may show, read from the code, for the tests of the translations."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import pipelines
from pipelines.core.options import Options, option_fields
from pipelines.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipelines", "easel")
# What only programs and the command line are told, in English as their documentation is.
FOR_PROGRAMS = ("api.py", "settings.py", "__main__.py", "launch.py")
# Errors that are not for the user: their text goes to the log.
INTERNAL = {"ValueError", "TypeError", "RuntimeError", "AssertionError", "KeyError", "OSError",
            "FileNotFoundError", "ArgumentError", "AttributeError", "OutOfMemoryError",
            "PydanticCustomError",
            "NotImplementedError", "Error", "LookupError", "ImportError"}


def flat(words: Any) -> Iterator[str]:
    """The texts in tuples, lists and the values of dictionaries."""
    if isinstance(words, str):
        yield words
    elif isinstance(words, dict):
        yield from flat(list(words.values()))
    elif isinstance(words, tuple | list):
        for part in words:
            yield from flat(part)


def subclasses(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def texts_of_pipelines() -> set[str]:
    """Titles, summaries, and the words of the options of every generator in the code."""
    for module in pkgutil.walk_packages(pipelines.__path__, "pipelines."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = set()
    for kind in subclasses(Pipeline):
        if kind.__module__.startswith("pipelines."):
            found |= {text for name in ("title", "summary")
                      if isinstance(text := getattr(kind, name, None), str)}
    for kind in subclasses(Options):
        # What is written in the code; classes with a catalogue's choices are made by running it.
        written = getattr(sys.modules[kind.__module__], kind.__name__, None) is kind
        if written and kind.__module__.startswith("pipelines."):
            for option in option_fields(kind):
                found |= {option.title, option.description}
                if option.kind == "choice":
                    found |= {label for label, _ in option.labelled()}
    return {text for text in found if text}


def user_sentences(root: Path = ROOT, folders: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Sentences that reach the user, errors among them, as templates, and where they are made.

    A template may stand in a constant, of the same module or of one that it is imported from.
    """
    trees = {path.relative_to(root): ast.parse(path.read_text(encoding="utf-8"))
             for folder in folders for path in sorted((root / folder).rglob("*.py"))}
    makers = error_classes(trees.values()) - INTERNAL | {"Sentence"}
    constants = {_module(path): dict(assigned_texts(tree)) for path, tree in trees.items()}
    found: dict[str, str] = {}
    for path, tree in trees.items():
        if path.name.endswith(FOR_PROGRAMS) or {"cli", "doors"} & set(path.parts):
            continue
        known = dict(constants[_module(path)])
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for name in node.names:
                    whole, own = f"{node.module}.{name.name}", name.asname or name.name
                    known |= {f"{own}.{constant}": texts
                              for constant, texts in constants.get(whole, {}).items()}
                    if texts := constants.get(node.module or "", {}).get(name.name):
                        known[own] = texts
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) else node
            if isinstance(call, ast.Call) and call.args and (
                    _name(call.func) in makers
                    or (isinstance(node, ast.Raise) and _name(call.func) not in INTERNAL)):
                for text in templates_of(call.args[0], known):
                    found.setdefault(text, f"{path}:{call.lineno}")
    return found


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def error_classes(trees: Iterable[ast.AST]) -> set[str]:
    """Names of the classes below ``EaselError``."""
    found, count = {"EaselError"}, 0
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while len(found) > count:
        count = len(found)
        found |= {each.name for each in classes if found & {_name(base) for base in each.bases}}
    return found


def assigned_texts(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that texts are assigned to anywhere in a module, with all the texts that each gets."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, []).extend(templates_of(value, {}))
    return ((name, tuple(texts)) for name, texts in found.items() if texts)


def templates_of(node: ast.expr, known: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The texts that an expression may be: those of a constant by its name, of either branch of a
    condition, of whatever is looked up in a dictionary or a tuple."""
    if text := template_of(node):
        yield text
    elif isinstance(node, ast.Name | ast.Attribute):
        yield from known.get(ast.unparse(node), ())
    elif isinstance(node, ast.Subscript):
        yield from templates_of(node.value, known)
    else:
        parts = (node.body, node.orelse) if isinstance(node, ast.IfExp) else \
            node.values if isinstance(node, ast.BoolOp | ast.Dict) else \
            node.elts if isinstance(node, ast.Tuple | ast.List) else ()
        for part in parts:
            yield from templates_of(part, known)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def template_of(node: ast.AST) -> str | None:
    """A text with ``{}`` where values are put in; None where it is not written there."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}"
                       for part in node.values)
    return None


def unmade_sentences(folders: Iterable[str] = PACKAGES) -> list[str]:
    """Where a sentence has not as many values as places, or has them in its text already, so that
    nobody could translate it."""
    found = []
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in (path for path in paths if "doors" not in path.parts):  # English, as the originals
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name, (text, *values) = _name(call.func), call.args
            if (isinstance(node, ast.Raise) and name not in INTERNAL) or name == "Sentence":
                raised = isinstance(text, ast.JoinedStr) and name != "Sentence"
                if raised or _places(text) not in (None, len(values)):
                    found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    return found


def _places(node: ast.expr) -> int | None:
    """How many values a template takes; None where it is not written there, or takes none and
    stands for itself, braces too."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return None
    try:
        names = [name for _, name, *_ in Formatter().parse(node.value) if name is not None]
    except ValueError:
        return None
    return None if any(names) else len(names)
