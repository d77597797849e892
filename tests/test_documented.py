"""The engine's functions as the documents show them: what stands there is run as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageShow

from pipelines.core.metadata import read_png
from pipelines.engine import process_engine
from pipelines.facade import Picture

LINES = 10


class Shown(ImageShow.Viewer):
    """The viewer of a machine without a screen: it notes what it is given."""

    def __init__(self) -> None:
        self.images: list[Image.Image] = []

    def show(self, image: Image.Image, **options: Any) -> int:
        """Note a picture."""
        self.images.append(image)
        return 1


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shown]:
    """An engine of its own in an empty folder, and what is shown there."""
    viewer = Shown()
    monkeypatch.setattr(ImageShow, "_viewers", [viewer])
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EASEL_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    process_engine.cache_clear()
    yield viewer
    process_engine().cache.close()
    process_engine.cache_clear()


def facade_code(page: Path) -> str:
    """The one piece of Python on a page that imports from the engine and asks no server."""
    found = [code for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"),
                                         re.MULTILINE | re.DOTALL)
             if code.startswith("from pipelines import")]
    assert len(found) == 1, page
    return found[0]


@pytest.mark.weights("dalle", "vqgan", "upscaler", "unclip-prior", "unclip-decoder", "clip-ranker")
def test_the_ten_lines_of_the_doors_page_do_what_they_say(
        shown: Shown, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = facade_code(repository / "docs" / "doors.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES
    names: dict[str, Any] = {}
    exec(compile(code, "docs/doors.md", "exec"), names)
    pictures, varied, panes, ranked = (names[each] for each in (
        "pictures", "varied", "panes", "ranked"))
    assert sorted(each.seed for each in pictures) == [7, 8, 9, 10]
    assert pictures[0].scores["clip"] == max(each.scores["clip"] for each in pictures)
    assert shown.images == [pictures[0].image]
    facts = read_png(Path("apple.png").read_bytes())["easel"]
    assert (facts["pipeline"], facts["prompt"]) == ("dalle", "a red apple")
    assert isinstance(varied[0], Picture)
    assert read_png(varied[0].png)["easel"]["init_image_sha256"]
    assert [(pane.generator, pane.error) for pane in panes] == [("dalle", None), ("unclip", None)]
    assert panes[1].options["decoder_steps"] == 16
    assert sorted(each.index for each in ranked) == [0, 1, 2, 3]
    assert capsys.readouterr().out == "an apple\n"


@pytest.mark.weights("dalle", "clip-ranker")
def test_the_readmes_line_draws_the_best_of_four(shown: Shown, repository: Path) -> None:
    exec(compile(facade_code(repository / "README.md"), "README.md", "exec"), {})
    assert read_png(Path("apple.png").read_bytes())["easel"]["pipeline"] == "dalle"
