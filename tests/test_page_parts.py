"""What the tabs are made of stands under them: nothing of it knows a tab."""

from __future__ import annotations

import ast
from pathlib import Path

UI = Path(__file__).resolve().parent.parent / "easel" / "ui"
TABS = {path.parent.name for path in UI.glob("*/tab.py")}


def imports_of(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, within functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_parts_know_no_tab() -> None:
    assert {"generate", "compare", "lab", "inside", "rerank", "history", "models"} == TABS
    up = {(path.name, name) for path in (UI / "parts").glob("*.py") for name in imports_of(path)
          if name.startswith(tuple(f"easel.ui.{tab}" for tab in TABS))}
    assert up == set()


def test_tabs_run_in_one_way() -> None:
    """Ways back after a reload are the parts' alone."""
    users = {path.name for tab in TABS for path in (UI / tab).glob("*.py")
             if "easel.ui.parts.live.WINDOW_JS" in imports_of(path)}
    assert users == set()
