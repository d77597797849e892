"""What a cluster's operator may get wrong: one sentence each, and nothing hangs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from easel.cli.main import main
from easel.serving.ray.connect import check_code, check_shared, join_cluster
from easel.serving.ray.environment import code_digest, has_token, is_here, make_token, prepare
from easel.serving.ray.messages import DeskFacts
from easel.serving.ray.node import (
    NO_RAY,
    NOT_TAKEN_IN,
    Node,
    end_node,
    node_of,
    start_node,
    starting,
)
from easel.settings import Settings
from pipelines.core.errors import EaselError
from tests.clusters import needs_ray
from tests.served import free_port

POSTGRESQL = "postgresql://easel:secret@db/easel"


def settings(folder: Path, **fields: Any) -> Settings:
    return Settings(data_dir=folder, backend="ray", **fields)


def refusal(made: Settings) -> str:
    with pytest.raises(EaselError) as caught:
        join_cluster(made)
    return str(caught.value)


def test_ray_is_asked_for_where_it_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal(settings(tmp_path)) == NO_RAY


@needs_ray
def test_an_address_where_no_cluster_is(tmp_path: Path) -> None:
    assert refusal(settings(tmp_path)).startswith("No cluster runs on this machine: start one")
    address = f"127.0.0.1:{free_port()}"
    assert refusal(settings(tmp_path, ray_address=address)) == \
        f"There is no cluster at {address}: connection refused."
    for odd in ("head", "head:", ":6379", "head:port", "head:6379:x"):
        assert refusal(settings(tmp_path, ray_address=odd)).startswith(
            "EASEL_RAY_ADDRESS is not valid: a host and a port such as head:6379, not '"), odd
    assert refusal(settings(tmp_path, ray_address="127.0.0.1:99999")).startswith(
        "There is no cluster at 127.0.0.1:99999: ")


@pytest.mark.parametrize("host", ["10.0.0.1", "head.example.org", "0.0.0.0"])
def test_several_machines_share_one_history(tmp_path: Path, host: str) -> None:
    def said(**fields: Any) -> str:
        with pytest.raises(EaselError) as caught:
            check_shared(settings(tmp_path, **fields), host)
        return str(caught.value)

    assert "PostgreSQL database in EASEL_DATABASE_URL" in said()
    assert "PostgreSQL" in said(database_url="sqlite:///history.sqlite", files_url="s3://bucket")
    assert "a bucket for its pictures in EASEL_FILES_URL" in said(database_url=POSTGRESQL)
    assert "a bucket" in said(database_url=POSTGRESQL, files_url="file:///folder")
    check_shared(settings(tmp_path, database_url=POSTGRESQL, files_url="s3://bucket"), host)
    check_shared(settings(tmp_path), "127.0.0.1")
    assert not is_here(host)


def test_a_node_of_another_boot_is_none(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{")
    assert node_of(tmp_path) is None
    (tmp_path / "node.json").write_text(json.dumps(asdict(Node("127.0.0.1:1", os.getpid(), 1, ""))))
    assert node_of(tmp_path) is None, "another process had this id"
    assert not end_node(tmp_path)
    assert not Node("127.0.0.1:1", os.getpid(), 1, "").is_alive()


def test_a_token_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    make_token(folder)
    token = (folder / "token").read_text()
    assert len(token) == 64
    assert (folder / "token").stat().st_mode & 0o077 == 0
    make_token(folder)
    assert (folder / "token").read_text() == token
    (folder / "token").write_text("")  # as a full disk leaves it
    assert not has_token(folder)
    make_token(folder)
    assert len((folder / "token").read_text()) == 64
    assert (folder / "token").stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(EaselError, match=r"^The cluster's folder cannot be used: "):
        make_token(tmp_path / "file")


def test_ray_is_told_to_stay_here_with_a_token_and_to_tell_nobody(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the operator")
    with monkeypatch.context() as inner:
        inner.setattr(os, "environ", dict(os.environ))
        prepare(tmp_path)
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    with monkeypatch.context() as inner:
        inner.setattr(os, "environ", {"RAY_USAGE_STATS_ENABLED": "1"})
        prepare(tmp_path, "10.0.0.1")
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1", "an operator's own word holds"
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
        assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


def test_code_has_one_name(tmp_path: Path) -> None:
    assert len(code_digest()) == 16
    assert code_digest() == code_digest()


def test_other_code_is_not_spoken_with() -> None:
    check_code(DeskFacts(0, 0, False, (), {}, easel=code_digest()))
    with pytest.raises(EaselError, match=r"^The cluster runs another version of Easel: "):
        check_code(DeskFacts(0, 0, False, (), {}, easel="another"))


def test_of_two_that_start_at_the_same_time_one_is_told(tmp_path: Path) -> None:
    def start(folder: str) -> None:
        with starting(tmp_path / folder):
            pass

    with starting(tmp_path / "cluster"), pytest.raises(EaselError, match="being started already"):
        start("cluster")
    start("cluster")
    (tmp_path / "file").write_text("")
    with pytest.raises(EaselError, match=r"^The cluster's folder cannot be used: "):
        start("file")


@needs_ray
def test_where_a_cluster_is_to_listen_is_looked_at_before_it_begins(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EaselError) as caught:
            start_node(tmp_path, "127.0.0.1", port)
    assert str(caught.value) == \
        f"The cluster cannot listen on 127.0.0.1, port {port}: address already in use."
    for host in ("192.0.2.1", "no host"):
        with pytest.raises(EaselError, match=f"^The cluster cannot listen on {host}: "):
            start_node(tmp_path, host)
    assert not list(tmp_path.iterdir())


@needs_ray
def test_who_joins_needs_the_token_and_a_cluster(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(EaselError) as caught:
        start_node(tmp_path, "127.0.0.1", join="127.0.0.1:6379")
    assert caught.value.args[0] == NOT_TAKEN_IN


@needs_ray
def test_ray_that_nobody_would_know_of_is_not_started(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **fields: Any) -> None:
            super().__init__(*args, **fields)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    (tmp_path / "node.json").mkdir()  # which no file can be put in the place of
    with pytest.raises(EaselError, match=r"^The cluster's folder cannot be used: "):
        start_node(tmp_path, "127.0.0.1")
    assert [each.poll() is not None for each in started] == [True]


@needs_ray
def test_a_cluster_of_one_machine_takes_no_other_in(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        ) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert main(["cluster", "up", "--join", address]) == 1
    assert capsys.readouterr().err == (
        f"The cluster at {address} takes no other machine in, since it listens on its own alone: "
        "start it with --listen and an address of a private network.\n")


@needs_ray
@pytest.mark.parametrize(("arguments", "sentence"), [
    (["up", "--join", "head"], "--join is not valid: a host and a port such as head:6379"),
    (["up", "--join", "127.0.0.1:1"], "There is no cluster at 127.0.0.1:1: connection refused."),
    (["status"], "No cluster runs on this machine: start one"),
    (["drain"], "No cluster runs on this machine: start one"),
    (["down"], "No cluster runs on this machine."),
    (["up", "--listen", ""], "--listen is empty: name this machine's address in the private"),
    (["up", "--listen", "10.0.0.1"], "name its PostgreSQL database in EASEL_DATABASE_URL")])
def test_commands_say_what_is_wrong(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "cluster", *arguments],
                          env={**os.environ, "EASEL_DATA_DIR": str(tmp_path)},
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_ray
@pytest.mark.parametrize(("arguments", "told", "sentence"), [
    (["--runners", "3", "--max-runners", "2"], {}, "There cannot be at most 2 runners and at least "
     "3: see EASEL_MAX_RUNNERS and EASEL_RUNNERS, or --max-runners and --runners.\n"),
    ([], {"EASEL_RUNNERS": "3", "EASEL_MAX_RUNNERS": "2"}, "There cannot be at most 2 runners "),
    (["--runners", "0"], {}, "Invalid value for '--runners': Input should be greater than "),
    (["--runners", "10001"], {}, "Invalid value for '--runners': Input should be less than or "),
    (["--max-runners", "99999999999"], {}, "Invalid value for '--max-runners': Input should be "
     "less than or equal to 10000"),
    (["--max-runners", "0"], {}, "Invalid value for '--max-runners': Input should be greater "),
    (["--max-runners", "many"], {}, "Invalid value for '--max-runners': Input should be a valid "),
    ([], {"EASEL_MAX_RUNNERS": "many"},
     "EASEL_MAX_RUNNERS is not valid: a whole number between 0 and 10000, not 'many'."),
    ([], {"EASEL_RUNNER_IDLE": "0"},
     "EASEL_RUNNER_IDLE is not valid: a whole number between 1 and 86400, not '0'.")])
def test_numbers_of_runners_that_are_none_are_refused(
        tmp_path: Path, arguments: list[str], told: dict[str, str], sentence: str,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert main(["cluster", "up", *arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert len(said.splitlines()) == 1
