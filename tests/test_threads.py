"""ARCHITECTURE.md's table of threads and locks, held against what the code makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FLOORS = ("pipelines", "easel")
HEADING = "## Threads and locks, and why each"
# Events and queues between threads are not listed: they keep nobody out.
KEPT = {
    "threading": {"Thread", "Timer", "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore",
                  "Barrier"},
    "concurrent.futures": {"ThreadPoolExecutor", "ProcessPoolExecutor"},
    "multiprocessing": {"Process", "Pool", "Lock", "RLock", "Condition", "Semaphore", "Manager"},
    "asyncio": {"to_thread", "Lock", "Condition", "Semaphore", "BoundedSemaphore"},
    "anyio.to_thread": {"run_sync"},
    "subprocess": {"Popen"},
    "filelock": {"FileLock", "SoftFileLock"},
    "huggingface_hub.utils": {"WeakFileLock"},
}


def makes(source: str) -> set[str]:
    """Names of the threads, processes and locks that a module makes, as in "threading.Lock"."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # what each name of the module stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                names[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}"
                      for alias in node.names}
    found = set()
    for node in _used(tree):
        first, _, rest = ast.unparse(node).partition(".")
        module, _, name = f"{names.get(first, '')}.{rest}".strip(".").rpartition(".")
        if name in KEPT.get(module, ()) or (first == "loop" and rest == "run_in_executor"):
            found.add(f"{module}.{name}")
    return found


def _used(node: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    """Names and dotted names in a module, less those that only say a type."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _used(child)


def test_what_makes_threads_and_locks_is_found() -> None:
    assert makes("import threading\nx = threading.Lock()") == {"threading.Lock"}
    assert makes("from threading import RLock as Mine\nx = field(default_factory=Mine)") == {
        "threading.RLock"}
    assert makes("from concurrent import futures\nx = futures.ThreadPoolExecutor(1)") == {
        "concurrent.futures.ThreadPoolExecutor"}
    assert makes("import concurrent.futures as f\nx = f.ThreadPoolExecutor(1)") == {
        "concurrent.futures.ThreadPoolExecutor"}
    assert makes("import gradio as gr\nfrom threading import Event\nx = gr.Timer(1), Event()"
                 ) == set(), "a component, and what keeps nobody out"
    assert makes("import threading\ndef f(lock: threading.Lock) -> threading.Timer: ...") == set()


def test_every_module_that_makes_a_thread_or_a_lock_is_in_the_table(repository: Path) -> None:
    text = (repository / "ARCHITECTURE.md").read_text("utf-8")
    section = text.partition(HEADING)[2].partition("\n## ")[0]
    named = set(re.findall(r"`((?:pipelines|easel)/[\w/]+\.py)`", section))
    made = {path.relative_to(repository).as_posix(): kinds for floor in FLOORS
            for path in sorted((repository / floor).rglob("*.py"))
            if (kinds := makes(path.read_text("utf-8")))}
    assert {path: kinds for path, kinds in made.items() if path not in named} == {}, (
        "say in ARCHITECTURE.md who they are and why")
    assert named - set(made) == set(), "these make none any more"
