"""The repository's own files: pins, licence, front matter, Spacefile, continuous integration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.readme import README_PATH, six_figures, with_figures
from benchmarks.report import results_page
from easel.ui.generate.lesson import render_lessons
from pipelines.dalle import DallePipeline
from tests.conftest import WEIGHTS, missing_models

PIN = re.compile(r"==[A-Za-z0-9_.+!-]+")
# Modules that pages name and that are not Easel's.
OF_OTHERS = {"generate.py", "main.py", "pixray.py", "utils.py"}
MOST_LINES = 400  # of a module; 100 to 300 is what to aim at
STATIC_ENGINES = {"static", "react", "svelte", "vue"}


class SchemaModel(BaseModel):
    """An object of the schema: no key beyond the listed ones, no coercion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Micro(SchemaModel):
    """``definitions.micro`` of spacefile.v0.schema.json, less what this manifest cannot use."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    src: str
    engine: Literal["static", "react", "svelte", "vue", "next", "nuxt", "svelte-kit",
                    "python3.9", "python3.8", "nodejs16", "custom"]
    primary: bool = True
    path: str | None = None
    serve: str | None = None
    commands: Annotated[list[str], Field(min_length=1)] | None = None
    include: Annotated[list[str], Field(min_length=1)] | None = None
    run: str | None = None
    dev: str | None = None
    public_routes: Annotated[list[str], Field(min_length=1)] | None = None
    public: bool = False

    @model_validator(mode="after")
    def serve_belongs_to_static_engines(self) -> Micro:
        if (self.engine in STATIC_ENGINES) != (self.serve is not None):
            raise ValueError("serve is required for static engines and refused for others")
        return self


class Spacefile(SchemaModel):
    """``definitions.spacefile`` of the same schema."""

    v: Literal[0]
    icon: str | None = None
    app_name: Annotated[str, Field(max_length=12)] | None = None
    auto_pwa: bool = False
    micros: Annotated[list[Micro], Field(min_length=1, max_length=5)]

    @model_validator(mode="after")
    def one_primary_micro(self) -> Spacefile:
        if sum(micro.primary for micro in self.micros) != 1:
            raise ValueError("exactly one micro is primary")
        return self


def pins(path: Path) -> dict[str, str]:
    """Name to version of what this machine requires; a line that pins nothing fails the test."""
    found = {}
    for line in path.read_text().splitlines():
        line = line.strip()
        if line and not line.startswith(("#", "-r ")):
            requirement = Requirement(line)
            pinned = str(requirement.specifier)
            assert PIN.fullmatch(pinned), f"{path.name}: not an exact pin: {line}"
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = pinned.removeprefix("==")
    return found


def front_matter(repository: Path) -> dict[str, object]:
    text = (repository / "README.md").read_text()
    assert text.startswith("---\n"), "README.md opens with a Space's front matter"
    return yaml.safe_load(text.split("---\n", 2)[1])


def test_spacefile_follows_the_schema(repository: Path) -> None:
    spacefile = Spacefile.model_validate(yaml.safe_load((repository / "Spacefile").read_text()))
    micro = spacefile.micros[0]
    assert spacefile.app_name == "Easel"
    assert micro.engine == "custom"
    assert micro.run
    assert (repository / micro.src / "Makefile").is_file()


@pytest.mark.parametrize("change", [
    {"v": 1},
    {"app_name": "Easel, the playground"},
    {"micros": []},
    {"microservices": []},
    {"micros": [{"name": "-easel", "src": ".", "engine": "custom"}]},
    {"micros": [{"name": "easel", "src": ".", "engine": "python3.11"}]},
    {"micros": [{"name": "easel", "src": ".", "engine": "custom", "serve": "dist"}]},
    {"micros": [{"name": "easel", "src": ".", "engine": "static"}]},
    {"micros": [{"name": "easel", "src": ".", "engine": "custom", "primary": "yes"}]},
])
def test_the_schema_refuses(repository: Path, change: dict[str, object]) -> None:
    spacefile = yaml.safe_load((repository / "Spacefile").read_text())
    with pytest.raises(ValidationError):
        Spacefile.model_validate(spacefile | change)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_exact_pins_of_what_is_installed(repository: Path, name: str) -> None:
    for package, pinned in pins(repository / name).items():
        assert version(package) == pinned, f"{package} is installed in another version"


def test_readme_front_matter_is_a_gradio_space(repository: Path) -> None:
    matter = front_matter(repository)
    assert matter["sdk"] == "gradio"
    assert matter["sdk_version"] == pins(repository / "requirements.txt")["gradio"]
    assert matter["license"] == "apache-2.0"
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={matter['python_version']}"
    assert (repository / str(matter["app_file"])).is_file()
    assert len(str(matter.get("short_description", ""))) <= 60
    assert {"title", "emoji", "colorFrom", "colorTo"} <= matter.keys()


def test_readme_says_what_became_of_the_spacefile_host(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    assert "Spacefile" in text
    assert "October 2024" in text


@pytest.mark.parametrize("page", [
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/guide.md", "docs/settings.md",
    "docs/training.md", "docs/checkpoints.md", "docs/installing.md", "SECURITY.md",
    "docs/doors.md", "docs/hosting.md", "docs/class.md", "docs/cluster.md",
    "benchmarks/RESULTS.md"])
def test_pages_link_to_files_that_exist(repository: Path, page: str) -> None:
    text = (repository / page).read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)|<img[^>]+src=\"(?!https?:)([^\"]+)\"", text)
    folder = (repository / page).parent
    missing = [a or b for a, b in links if not (folder / (a or b)).exists()]
    assert not missing


def test_guides_name_files_that_exist(repository: Path) -> None:
    """Paths and modules in backticks; one that a move left behind is found here. NAME stands for
    any name."""
    floors = ("pipelines", "easel", "training", "benchmarks", "assets", "tests", "docs")
    modules = {path.name for floor in floors for path in (repository / floor).rglob("*.py")}
    pages = [*repository.glob("*.md"), *(path for floor in floors
                                         for path in (repository / floor).rglob("*.md"))]
    assert len(pages) > 20
    missing = []
    for page in pages:
        text = page.read_text("utf-8")
        paths = re.findall(rf"`((?:{'|'.join(floors)})/[\w./-]*)`", text)
        missing += [(page.name, path) for path in paths if Path(path).stem != "NAME"
                    and not (repository / path).exists()]
        missing += [(page.name, name) for name in re.findall(r"`(?:[\w-]+/)*([\w-]+\.py)`", text)
                    if name not in modules | OF_OTHERS and name not in ("NAME.py", "app.py")]
    assert missing == []


def test_the_readme_stays_short(repository: Path) -> None:
    assert len((repository / "README.md").read_text().splitlines()) <= 170


def test_modules_stay_short(repository: Path) -> None:
    """One that grows beyond has more than one reason to exist."""
    lines = {path.relative_to(repository).as_posix(): len(path.read_text("utf-8").splitlines())
             for floor in ("pipelines", "easel", "training", "benchmarks")
             for path in (repository / floor).rglob("*.py")}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_the_results_page_is_what_the_results_say(repository: Path) -> None:
    page = (repository / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert page == results_page(), "run python -m benchmarks report"


def test_the_readme_has_the_figures_that_the_results_have() -> None:
    text = README_PATH.read_text(encoding="utf-8")
    assert six_figures() in text, "run python -m benchmarks report"
    assert with_figures(text.replace(six_figures(), "| figure | value |\n| a | b |")) == text


def test_measured_figures_stand_in_tables_of_the_results_alone(repository: Path) -> None:
    """Of the guides: a table half of whose cells are numbers is one that somebody measured."""
    def numbers(row: str) -> list[bool]:
        return [bool(re.match(r"^\W*[\d.,]+( |$|[A-Za-z])", cell.strip()))
                for cell in row.strip("|").split("|")[1:]]

    found = []
    for path in [*(repository / "docs").glob("*.md"), repository / "training" / "NOTES.md"]:
        for rows in re.findall(r"(?:^\|.*\n)+", path.read_text("utf-8"), re.MULTILINE):
            cells = [cell for row in rows.splitlines()[2:] for cell in numbers(row)]
            if sum(cells) > len(cells) / 2:
                found.append((path.name, rows.splitlines()[0]))
    assert found == [("checkpoints.md", "| model | codes | width | parameters | licence of the "
                      "weights |")], "which are facts of the publishers"


@pytest.mark.weights("dalle")
def test_codes_are_described_as_they_are(repository: Path) -> None:
    configs = {name: json.loads((WEIGHTS / name / "config.json").read_text())["config"]
               for name in ("layer-vqgan", "dalle")}
    codes, code_digits = configs["layer-vqgan"]["n_embed"], configs["dalle"]
    assert code_digits["codebook_size"] ** code_digits["digits"] >= codes
    readme = (repository / "README.md").read_text()
    for fact in (f"{codes:,} codes", f"base {code_digits['codebook_size']}"):
        assert fact in readme
    assert f"{codes:,}" in render_lessons({"dalle": DallePipeline.lesson})


def test_licence_is_apache_2(repository: Path) -> None:
    text = (repository / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_each_sheet_of_art_has_its_source_and_the_text_that_its_licence_asks_for(
        repository: Path) -> None:
    folder = repository / "assets" / "world"
    notice = (folder / "NOTICE.md").read_text()
    rows = {name: row for row in notice.splitlines() if row.startswith("| `")
            for name in re.findall(r"`([\w-]+\.webp)`", row)}
    assert rows.keys() == {path.name for path in folder.glob("*.webp")}
    under_gpl = [name for name, row in rows.items() if "GPL-2" in row]
    assert under_gpl == ["photo.webp"]
    assert "whose text is in `COPYING.GPL-2`" in notice
    text = (folder / "COPYING.GPL-2").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_continuous_integration_runs_the_tests(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "executable"
    assert "make test" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("target", ["run", "test", "bench", "lint"])
def test_make_knows_its_targets(repository: Path, target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=repository, check=True,
                          capture_output=True, text=True)
    assert ".venv/bin/" in done.stdout


def test_make_says_which_python_it_needs(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(["make", "-f", repository / "Makefile", ".venv/bin/python",
                           "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode != 0
    assert "Easel needs Python 3.11 or newer" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_test_that_needs_weights_names_what_is_missing() -> None:
    assert missing_models("nobody") == ["nobody"]
    assert set(missing_models()) <= {"clip-guide", "clip-narrow", "clip-photos", "clip-ranker",
                                     "dalle", "discriminator", "efficientnet-lite0", "familiarity",
                                     "minilm", "unclip-decoder", "unclip-prior", "upscaler",
                                     "vqgan"}


def test_importing_the_app_starts_nothing(repository: Path) -> None:
    """A Space imports nothing at start that a command line or a test would have to pay for."""
    code = ("import threading, sys, app\n"
            "assert threading.active_count() == 1, threading.enumerate()\n"
            "assert 'torch' not in sys.modules, 'importing app loads torch'\n")
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)


def test_the_embedded_weights_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")}
    assert len(sizes) > 5
    assert max(sizes.values()) < 48_000_000, sizes
    assert sum(sizes.values()) < 160_000_000, sum(sizes.values())
