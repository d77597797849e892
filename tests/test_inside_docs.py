"""``docs/inside.md`` has a picture of each view of Inside, and the endpoints that there are."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from easel.words import strings
from tests.conftest import REPOSITORY
from tests.inside_screenshots import VIEWS, WIDTH_PX
from tests.test_app import ENDPOINTS

TEXT = (REPOSITORY / "docs" / "inside.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[([^\]]+)\]\(\.\./(assets/screenshots/inside-([a-z]+)\.webp)\)", TEXT)
NAMES = {"patches": strings.PATCHES, "replay": strings.REPLAY}


def test_each_view_has_its_part_with_a_picture_that_can_be_taken_anew() -> None:
    assert [name for _, _, name in PICTURES] == [name for name, _, _ in VIEWS]
    headings = re.findall(r"(?m)^## (.+)$", TEXT)
    assert headings == [NAMES.get(name, title) for name, title, _ in VIEWS]
    for heading in headings:
        assert f"](#{heading.lower().replace(' ', '-')})" in TEXT.partition("\n## ")[0]


@pytest.mark.parametrize(("alt", "path"), [(alt, path) for alt, path, _ in PICTURES])
def test_its_pictures_are_small_and_told(alt: str, path: str) -> None:
    assert len(alt) > 20
    assert (REPOSITORY / path).stat().st_size < 60_000
    with Image.open(REPOSITORY / path) as picture:
        assert picture.format == "WEBP"
        assert 300 < picture.width <= WIDTH_PX


def test_all_endpoints_of_the_tab_are_named_and_no_others() -> None:
    assert set(re.findall(r"`(/inside_\w+)`", TEXT)) == {
        each for each in ENDPOINTS if each.startswith("/inside_")}


def test_the_functions_that_are_named_are_there() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| ["))
    named = re.findall(r"`([a-z]+)\.([A-Za-z]+)`", rows)
    assert len(named) > 10
    for module, function in named:
        source = REPOSITORY / "pipelines" / "inside" / f"{module}.py"
        assert re.search(rf"^(class|def) {function}\b", source.read_text(), re.MULTILINE), function
