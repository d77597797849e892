"""The locks of what is installed, and the licences of all of it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.test_house import pins

LOCKS = ("requirements.lock", "requirements-dev.lock")
CLUSTER = "requirements-cluster.lock"  # Ray and its like, where they can be installed
EVERY = (*LOCKS, CLUSTER, "requirements-stores.lock")  # the last of an environment of its own
INSTALLED = [*LOCKS, pytest.param(CLUSTER, marks=pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed"))]
# As classifiers and older metadata name them.
SPDX = {
    "3-clause bsd license": "BSD-3-Clause", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0", "bsd": "BSD-3-Clause", "bsd license": "BSD-3-Clause",
    "gplv2": "GPL-2.0", "isc license": "ISC", "isc license (iscl)": "ISC", "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "python software foundation license": "PSF-2.0",
}
# Packages whose metadata says nothing, by what their own files or publisher say.
SILENT = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # names the others, holds nothing itself
    "resvg-py": "MIT",  # its LICENSE
    "taming-transformers": "MIT",  # License.txt of CompVis/taming-transformers
}


def locked(name: str, repository: Path = REPOSITORY) -> dict[Requirement, set[str]]:
    """What a lock pins, and the hashes of the files of each."""
    text = (repository / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[Requirement, set[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), line[:80]
            found[Requirement(requirement)] = set(hashes)
    return found


def applying(name: str) -> dict[str, str]:
    """Name to version of what a lock says for this Python and platform."""
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in locked(name)
            if each.marker is None or each.marker.evaluate()}


@pytest.mark.parametrize("name", EVERY)
def test_every_locked_package_is_one_version_with_hashes(name: str) -> None:
    for requirement, hashes in locked(name).items():
        assert re.fullmatch(r"==[A-Za-z0-9_.+!-]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes, requirement


@pytest.mark.parametrize("name", EVERY)
def test_a_lock_names_no_host_and_no_folder(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert not re.search(r"://|\bfile:|--(index|extra|find|trusted)|(^|\s)[~.]?/|\\\\|[A-Z]:\\",
                         text, re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_serves_all_platforms(name: str) -> None:
    """One that was written for the machine at hand would have the hash of one wheel."""
    hashes = {each.name: found for each, found in locked(name).items()}
    for package in ("numpy", "pillow", "pydantic-core", "safetensors", "tokenizers", "torch"):
        assert len(hashes[package]) >= 10, package


@pytest.mark.parametrize(("requirements", "lock"), [
    ("requirements.txt", "requirements.lock"), ("requirements.txt", "requirements-dev.lock"),
    ("requirements-dev.txt", "requirements-dev.lock"), ("requirements-ray.txt", CLUSTER),
    ("requirements-files.txt", CLUSTER), ("requirements-stores.txt", "requirements-stores.lock")])
def test_the_locks_are_those_of_the_requirements(requirements: str, lock: str) -> None:
    found = applying(lock)
    for package, pinned in pins(REPOSITORY / requirements).items():
        assert found.get(canonicalize_name(package)) == pinned, f"{package}: run make lock"


def test_tests_run_on_what_the_page_runs_on() -> None:
    """In the same versions, of the same files; what tests add may want one on more systems."""
    every = {(each.name, each.specifier): hashes
             for each, hashes in locked("requirements-dev.lock").items()}
    for each, hashes in locked("requirements.lock").items():
        assert every.get((each.name, each.specifier)) == hashes, each
    names = {each.name for each in locked("requirements-dev.lock")}
    for each, hashes in locked(CLUSTER).items():
        if each.name in names:
            assert every.get((each.name, each.specifier)) == hashes, each


@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_locked_is_installed(name: str) -> None:
    for package, pinned in applying(name).items():
        assert version(package) == pinned, package


def declared(package: str) -> str:
    """What an installed package says its licence is, as SPDX's expression where it is known."""
    facts = distribution(package).metadata
    if expression := facts["License-Expression"]:
        return expression
    classifiers = [str(each).rpartition(" :: ")[2] for each in facts.get_all("Classifier", [])
                   if str(each).startswith("License :: ")]
    words = (facts["License"] or "").strip()
    if not words or "\n" in words or words == "UNKNOWN":  # the licence's whole text
        words = " AND ".join(SPDX.get(each.lower(), each) for each in classifiers)
    return SPDX.get(words.lower(), words) or SILENT.get(canonicalize_name(package), "")


def refused(expression: str, allowed: set[str]) -> set[str]:
    """Licences of an expression that are not allowed; one of several to choose from may not be."""
    alternatives = [re.split(r"\s+AND\s+", each) for each in
                    re.split(r"\s+OR\s+", re.sub(r"\([^()]*\sOR\s[^()]*\)",
                                                lambda m: _chosen(m[0], allowed), expression))]
    return min(({each.strip("() ") for each in parts} - allowed for parts in alternatives), key=len)


def _chosen(choice: str, allowed: set[str]) -> str:
    """The first allowed licence of "(A OR B)"."""
    parts = [each.strip() for each in choice.strip("()").split(" OR ")]
    return next((each for each in parts if each in allowed), parts[0])


def stated() -> set[str]:
    """The licences that docs/installing.md lists."""
    text = (REPOSITORY / "docs" / "installing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|", text.partition("## Licences")[2], re.MULTILINE)
    return {each.strip() for row in rows for each in row.split(",")} - {"licence", "---"}


@pytest.mark.parametrize("name", INSTALLED[1:])
def test_every_installed_package_has_a_stated_licence(name: str) -> None:
    listed, faults = stated(), {}
    assert "MIT" in listed
    product = applying("requirements.lock")
    for package in applying(name):
        allowed = listed - {"GPL-2.0", "GPL-3.0"} if package in product else listed
        try:
            expression = declared(package)
        except PackageNotFoundError:
            faults[package] = "is not installed"
            continue
        if not expression or refused(expression, allowed):
            faults[package] = expression or "says nothing of a licence"
    assert not faults


@pytest.mark.parametrize(("expression", "found"), [
    ("MIT", set()), ("GPL-3.0-only", {"GPL-3.0-only"}), ("MIT OR GPL-3.0-only", set()),
    ("MIT AND GPL-3.0-only", {"GPL-3.0-only"}), ("MIT AND (GPL-2.0-only OR ISC)", set()),
    ("MIT AND (GPL-2.0-only OR AGPL-3.0-only)", {"GPL-2.0-only"})])
def test_a_licence_that_is_not_stated_is_found(expression: str, found: set[str]) -> None:
    assert refused(expression, {"MIT", "ISC"}) == found


def test_no_process_of_easel_loads_what_only_lies_beside_a_dependency() -> None:
    """taming-transformers brings them along for its own training; both read files that run code."""
    code = ("import sys, easel.launch, easel.ui.page, easel.cli.main, easel.cli.app\n"
            "import pipelines.registry, pipelines.models.checkpoints.loading\n"
            "print(*{name.partition('.')[0] for name in sys.modules})")
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True,
                            capture_output=True, text=True, timeout=300).stdout.split()
    assert "taming" in loaded
    assert not {"pytorch_lightning", "lightning", "omegaconf"} & set(loaded)
