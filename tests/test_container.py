"""The files by which others host Easel: Dockerfile, compose file, workflow, citation, changelog.

There is no daemon where tests run: hadolint reads the Dockerfile, and what its steps compute is
computed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import make_url

from easel.settings import Settings
from pipelines.core.settings import PREFIX
from tests.served import App

HADOLINT = Path(sys.executable).with_name("hadolint")
CUDA = re.compile(r"(torch|torchvision|triton|nvidia-.+|cuda-.+)")


def steps(repository: Path) -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with what they say, lines that go on joined."""
    text = "\n".join(line for line in (repository / "Dockerfile").read_text().splitlines()
                     if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for line in lines if line.strip()
            for word, _, rest in [line.strip().partition(" ")]]


def said(repository: Path, word: str) -> list[str]:
    return [rest for name, rest in steps(repository) if name == word]


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not built for this machine")
def test_the_image_is_built_by_the_rules(repository: Path) -> None:
    read = subprocess.run([HADOLINT, "Dockerfile"], cwd=repository, capture_output=True, text=True,
                          timeout=120, check=False)
    assert (read.stdout, read.returncode) == ("", 0)


def test_the_image_starts_the_server_as_nobody_special(repository: Path) -> None:
    found = steps(repository)
    assert json.loads(said(repository, "CMD")[0]) == ["/venv/bin/python", "app.py"]
    assert json.loads(said(repository, "VOLUME")[0]) == ["/data"]
    last_user = max(n for n, (word, _) in enumerate(found) if word == "USER")
    assert found[last_user][1] == "1000"
    assert any("--uid 1000" in command for command in said(repository, "RUN"))
    assert not {word for word, _ in found[last_user:]} & {"RUN", "COPY"}


def test_all_that_is_copied_is_there_and_not_ignored(repository: Path) -> None:
    allowed = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines()
               if line.startswith("!")}
    copied = {name for rest in said(repository, "COPY") if not rest.startswith("--from")
              for name in rest.split()[:-1]}
    assert copied == allowed
    assert all((repository / name).exists() for name in copied)
    assert {"app.py", "assets", "easel", "pipelines"} <= copied


def test_the_environment_is_settings(repository: Path) -> None:
    names = re.findall(rf"{PREFIX}(\w+)=", " ".join(said(repository, "ENV")))
    assert set(names) == {"HOST", "DATA_DIR"}
    compose = yaml.safe_load((repository / "compose.yaml").read_text())
    names += [name.removeprefix(PREFIX) for name in compose["services"]["easel"]["environment"]
              if name != "PGPASSWORD"]
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


def test_without_cuda_the_rest_of_the_lock_is_installed(repository: Path, tmp_path: Path) -> None:
    """The filter of the build's RUN, on the lock itself."""
    (command,) = [rest for rest in said(repository, "RUN") if "awk" in rest]
    script = re.search(r"awk '([^']+)'", command)
    assert script is not None
    rest = subprocess.run(["awk", script[1], "requirements.lock"], cwd=repository, check=True,
                          capture_output=True, text=True).stdout
    whole = (repository / "requirements.lock").read_text()

    def packages(text: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[|==)", text, re.MULTILINE))

    assert packages(rest) == {p for p in packages(whole) if not CUDA.fullmatch(p)}
    assert "torchmetrics" in packages(rest)
    assert rest.count("--hash=") > 1000


def test_the_health_check_asks_what_there_is(repository: Path) -> None:
    check = said(repository, "HEALTHCHECK")[0]
    assert "/healthz" in check
    _, flag, code = json.loads(check[check.index("["):])
    asked, answers = [], iter([200, 503])

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(next(answers))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ends = [subprocess.run([sys.executable, flag, code], capture_output=True, timeout=300,
                               env={**os.environ, "EASEL_PORT": str(server.server_port)})
                for _ in range(2)]
        server.shutdown()
    assert [end.returncode for end in ends] == [0, 1]
    assert asked == ["/healthz"] * 2


def test_compose_waits_for_its_database(repository: Path) -> None:
    compose: dict[str, Any] = yaml.safe_load((repository / "compose.yaml").read_text())
    easel, database = compose["services"]["easel"], compose["services"]["database"]
    assert easel["depends_on"]["database"]["condition"] == "service_healthy"
    assert "healthcheck" in database
    for service in (easel, database):
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
    assert easel["volumes"] == ["data:/data"]
    assert all(port.startswith("127.0.0.1:") for port in easel["ports"])
    assert int(easel["stop_grace_period"].removesuffix("s")) > 20, "the server's own is 20 s"
    text = (repository / "compose.yaml").read_text()
    assert text.count("${POSTGRES_PASSWORD:?") == 2, "no password of ours"
    address = make_url(easel["environment"]["EASEL_DATABASE_URL"])
    assert address.password is None
    assert easel["environment"]["PGPASSWORD"] == database["environment"]["POSTGRES_PASSWORD"]


def test_a_gpu_is_one_more_compose_file(repository: Path) -> None:
    more: dict[str, Any] = yaml.safe_load((repository / "compose.gpu.yaml").read_text())
    (device,) = more["services"]["easel"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_workflow_runs_lint_and_tests(repository: Path) -> None:
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "checks.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make lint", "make test"]
    python = next(step["with"]["python-version"] for step in job["steps"]
                  if "setup-python" in step.get("uses", ""))
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={python}"
    assert workflow["permissions"] == {"contents": "read"}


def test_the_citation_is_of_this_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    headings = re.findall(r"^## (.+)$", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert project["version"] in headings


@pytest.mark.parametrize("argument", ["DEVICE", "TORCH_INDEX", "PYTHON"])
def test_arguments_of_the_build_are_used(repository: Path, argument: str) -> None:
    text = (repository / "Dockerfile").read_text()
    assert any(rest.startswith(f"{argument}=") for rest in said(repository, "ARG"))
    assert re.search(rf"\$\{{?{argument}", text)


_noted: list[str] | None = None


def _note_writes(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook, which stays for the life of the process; it notes while ``_noted`` is a list.

    Source: Python's table of audit events; of ``open`` the second or third argument says how.
    """
    if _noted is None:
        return
    if event == "open" and isinstance(args[0], str | bytes):
        mode, flags = args[1], args[2] or 0
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else bool(
            flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes:
            _noted.append(os.fsdecode(args[0]))
    elif event in ("os.mkdir", "sqlite3.connect") and isinstance(args[0], str | bytes):
        _noted.append(os.fsdecode(args[0]))
    elif event in ("os.rename", "os.link", "os.symlink", "shutil.copyfile"):
        _noted.append(os.fsdecode(args[1]))


def test_a_server_writes_into_its_data_folder_alone(monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path: Path) -> None:
    """So that the rest of a container or a Space may be read-only."""
    global _noted
    # Gradio imports matplotlib where it is: the notebooks bring it to tests, and no server has it.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    sys.addaudithook(_note_writes)
    _noted = []
    try:
        app = App()
        try:
            client = app.client()
            drawn = client.predict("a cat", ["sketch"], 1, 5, {"sketch": {"steps": 1}},
                                   api_name="/generate")
            assert drawn
            httpx.post(f"{app.url.rstrip('/')}/v1/images/generations", timeout=300, json={
                "prompt": "a cat", "response_format": "url", "options": {"steps": 1}})
        finally:
            app.close()
        noted = {Path(name).resolve() for name in _noted}
    finally:
        _noted = None
    allowed = [Path(app.data.name).resolve(), Path(os.environ["GRADIO_TEMP_DIR"]).resolve(),
               Path("/dev"), Path("/proc")]
    # What the client of this test downloads, and what torch compiles for itself.
    temporary = Path(tempfile.gettempdir()).resolve()
    outside = [path for path in noted if not any(path.is_relative_to(a) for a in allowed)
               and not path.is_relative_to(temporary) and path.suffix not in (".pyc",)
               and "__pycache__" not in path.parts and path != Path.cwd()]
    assert len(noted) > 5, "the hook notes"
    assert outside == []
