"""Imports go down the layers, and never round; a network's module opens no file."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import permutations
from pathlib import Path

import pytest

from pipelines.registry import GENERATORS
from tests.conftest import REPOSITORY

# From the bottom up; the longest prefix that fits a module names its layer.
LAYERS = (("pipelines.core",), ("pipelines.world",),
          ("pipelines.models", "pipelines.models.checkpoints.ids"),  # names alone
          ("pipelines.models.checkpoints",), ("pipelines.models.cache",), ("pipelines",),
          ("easel.settings", "easel.garbage", "easel.serving", "easel.history"),
          ("easel.search", "easel.compare", "easel.presets", "easel.own_files", "easel.zip_files",
           "easel.wall"),
          ("easel.words", "easel.guard"),
          ("easel.cli", "easel.doors", "easel.ui"), ("easel",), ("training",), ("benchmarks",))
# The command's old names, which import the application inside ``if __name__``.
SHIMS = {"pipelines.__main__", "pipelines.weights"}
# Ways in, which stand side by side; what two of them need lies below them.
NEVER = set(permutations(("easel.cli", "easel.doors", "easel.ui"), 2))
# Modules of the application that put floors together; all others stand in one of the layers.
TOPS = {"easel", "easel.__main__", "easel.launch"}
# Calls that read or write files, whoever has them: of Path, numpy, torch, json, safetensors, ...
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "load", "save",
         "dump", "memmap", "fromfile", "tofile", "loadtxt", "savez", "load_file", "save_file",
         "safe_open", "from_file", "from_pretrained", "read_csv", "ZipFile"}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the engine, the application, the trainers and the benchmarks, by name."""
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
            for folder in ("pipelines", "easel", "training", "benchmarks")
            for path in sorted((root / folder).rglob("*.py"))}


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a module imports anywhere, for types too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    return max((len(package), height) for height, packages in enumerate(LAYERS)
               for package in packages if within(module, package))[1]


def beside(module: str, other: str, folders: set[str]) -> tuple[str, str] | None:
    """The two folders, one beside the other, that hold two modules; None where that is not so."""
    one, two = module.split("."), other.split(".")
    depth = next((n for n, names in enumerate(zip(one, two, strict=False), 1)
                  if names[0] != names[1]), 0)
    pair = ".".join(one[:depth]), ".".join(two[:depth])
    return pair if folders.issuperset(pair) else None


def circle(graph: Mapping[str, set[str]]) -> str:
    """Names that a graph leads round by, as a sentence; empty where there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return ""


def faults(root: Path) -> list[str]:
    """What is wrong with the imports below a folder."""
    known = modules(root)
    graph = {name: {found for found in imports(path, known) if found in known and found != name}
             for name, path in known.items() if name not in SHIMS}
    wrong = [f"{name} imports {found}, which is above it" for name, targets in graph.items()
             for found in targets if layer(found) > layer(name)]
    wrong += [f"{name} imports {found}" for name, targets in graph.items() for found in targets
              for user, other in NEVER if within(name, user) and within(found, other)]
    wrong += [f"{name} stands in no layer" for name in graph
              if LAYERS[layer(name)] == ("easel",) and name not in TOPS]
    holding = {".".join(parts[:depth]) for parts in (name.split(".") for name in known)
               for depth in range(1, len(parts))}
    between: dict[str, set[str]] = {}
    for name, targets in graph.items():
        for pair in filter(None, (beside(name, found, holding) for found in targets)):
            between.setdefault(pair[0], set()).add(pair[1])
    wrong += [f"a circle{where}: {found}" for where, found in (
        ("", circle(graph)), (" of folders", circle(between))) if found]
    return wrong


def test_imports_go_down_and_never_round() -> None:
    assert faults(REPOSITORY) == []


@pytest.mark.parametrize(("name", "source", "fault"), [
    ("pipelines/core/a.py", "def f():\n    from pipelines.models import b\n", "above"),
    ("pipelines/models/b.py", "from pipelines.models.checkpoints import m\n", "above"),
    ("pipelines/models/checkpoints/m.py", "from pipelines.models.cache import n\n", "above"),
    ("pipelines/models/b.py", "import easel.launch\n", "above"),
    ("easel/launch.py", "from training import d\n", "above"),
    ("easel/cli/e.py", "from easel.ui.f import g\n", "easel.cli.e imports easel.ui.f"),
    ("easel/doors/j.py", "from easel.ui.f import g\n", "easel.doors.j imports easel.ui.f"),
    ("easel/ui/f.py", "import easel.doors.j\n", "easel.ui.f imports easel.doors.j"),
    ("easel/guard/k.py", "from easel.ui import f\n", "easel.guard.k imports easel.ui.f, which"),
    ("easel/guard/k.py", "from easel.doors.j import g\n", "above"),
    ("easel/api/l.py", "", "easel.api.l stands in no layer"),
    ("easel/cli/e.py", "from easel.cli import h\n", "a circle: easel.cli"),
    ("easel/ui/tab/p.py", "from easel.ui.other import o\n", "a circle of folders: easel.ui."),
    ("easel/compare/r.py", "from easel.search import s\n", "a circle of folders: easel."),
    ("training/d.py", "from benchmarks import i\n", "above")])
def test_a_fault_that_is_added_is_found(tmp_path: Path, name: str, source: str, fault: str) -> None:
    for path in ("pipelines/core/a.py", "pipelines/models/b.py",
                 "pipelines/models/checkpoints/m.py", "pipelines/models/cache/n.py",
                 "easel/launch.py",
                 "easel/cli/e.py", "easel/doors/j.py", "easel/guard/k.py", "easel/ui/f.py",
                 "easel/cli/h.py", "training/d.py", "benchmarks/i.py", "easel/ui/tab/q.py",
                 "easel/ui/other/o.py", "easel/compare/t.py", "easel/search/s.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text({
            "easel/cli/h.py": "from easel.cli import e\n",
            "easel/ui/other/o.py": "from easel.ui.tab import q\n",
            "easel/search/s.py": "from easel.compare import t\n"}.get(path, ""))
    assert faults(tmp_path) == []
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(source)
    assert any(fault in wrong for wrong in faults(tmp_path))


def opened(source: str) -> set[str]:
    """Names of calls by which a module reads or writes files, as they are where they come from."""
    tree = ast.parse(source)
    froms = {name.asname or name.name: name.name for node in ast.walk(tree)
             if isinstance(node, ast.ImportFrom) for name in node.names}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {call for call in calls if froms.get(call, call).rpartition(".")[2] in FILES}


def test_a_network_opens_no_file() -> None:
    paths = sorted((REPOSITORY / "pipelines" / "models").glob("*.py"))
    assert {path.name: found for path in paths if (found := opened(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize(("source", "call"), [
    ("torch.load('x')", "torch.load"), ("import numpy as np\nnp.load(path)", "np.load"),
    ("from numpy import load as read\nread(path)", "read"), ("open('x')", "open"),
    ("json.load(file)", "json.load"), ("Path('x').read_text()", "Path('x').read_text"),
    ("(folder / 'x').read_bytes()", "(folder / 'x').read_bytes"),
    ("from safetensors.torch import load_file\nload_file('x')", "load_file"),
    ("class Words:\n    def read(self):\n        return Tokenizer.from_file('x')",
     "Tokenizer.from_file"), ("json.loads(text)\nmodule.load_state_dict(tensors)", None)])
def test_a_file_that_a_network_opens_is_found(source: str, call: str | None) -> None:
    assert opened(source) == ({call} if call else set())


def test_the_map_has_every_folder() -> None:
    """ARCHITECTURE's table of layers names each folder, and each module that stands alone."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    table = text[text.index("| layer |"):text.index("\n\n", text.index("| layer |"))]
    folders = {f"{path.parent.relative_to(REPOSITORY).as_posix()}/"
               for floor in ("pipelines", "easel")
               for path in (REPOSITORY / floor).glob("*/__init__.py")}
    alone = {path.relative_to(REPOSITORY).as_posix()
             for path in (REPOSITORY / "easel").glob("*.py")} - {"easel/__init__.py"}
    assert "easel/ui/" in folders
    assert {name for name in folders | alone if f"`{name}`" not in table} == set()


# The command line's first choice, and the walk, which is a thing of unCLIP's.
NAMED = {("easel.cli.app", "dalle"), ("easel.ui.inside.tab", "unclip"),
         ("easel.ui.inside.walk", "unclip")}


def named_generators(known: dict[str, Path]) -> set[tuple[str, str]]:
    """Modules of engine and application that name a generator, without its own and the networks."""
    homes = {kind.name: kind.__module__.removesuffix(".pipeline") for kind in GENERATORS}
    return {(name, node.value) for name, path in known.items()
            if within(name, "pipelines") or within(name, "easel")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and node.value in homes
            and not within(name, homes[node.value]) and not within(name, "pipelines.models")}


def test_a_generator_is_named_in_its_own_file_alone(tmp_path: Path) -> None:
    """So that a new one takes its file, its line in the registry and its catalogue entries."""
    assert named_generators(modules(REPOSITORY)) == NAMED
    (tmp_path / "a.py").write_text('if pipeline == "janus":\n    pass\n')
    assert named_generators({"easel.ui.a": tmp_path / "a.py"}) == {("easel.ui.a", "janus")}


def borrowed(known: dict[str, Path]) -> list[str]:
    """Names that a module imports from another one which imports them itself."""
    froms = {name: [node for node in ast.walk(ast.parse(path.read_text("utf-8")))
                    if isinstance(node, ast.ImportFrom)] for name, path in known.items()}
    bound = {name: {alias.asname or alias.name for node in nodes for alias in node.names}
             for name, nodes in froms.items()}
    return [f"{name} takes {alias.name} from {node.module}" for name, nodes in froms.items()
            for node in nodes for alias in node.names if alias.name in bound.get(
                str(node.module), ()) and f"{node.module}.{alias.name}" not in known]


def test_a_name_is_imported_from_where_it_is_defined(tmp_path: Path) -> None:
    """So that there is one place to look for it, and moving it is one move."""
    assert borrowed(modules(REPOSITORY)) == []
    for name, source in (("a", "def f(): pass"), ("b", "from easel.a import f"),
                         ("c", "from easel.b import f")):
        (tmp_path / "easel").mkdir(exist_ok=True)
        (tmp_path / "easel" / f"{name}.py").write_text(source)
    assert borrowed(modules(tmp_path)) == ["easel.c takes f from easel.b"]
