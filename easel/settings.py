"""Settings of a running Easel: the engine's and the server's, from ``EASEL_*`` variables."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, ByteSize, Field, SecretStr
from pydantic_core import PydanticCustomError

from pipelines.core.amounts import Bytes
from pipelines.core.errors import EaselError
from pipelines.core.settings import (
    PREFIX,
    EngineSettings,
    at_home,
    beside_easel,
    described,
    lower_case,
    read_settings,
)
from pipelines.core.texts import shown_name

DOORS = ("openai", "a1111", "mcp")
MOST_RUNNERS = 10_000
CLASS_MINUTE_S = 20  # of a class's visitor; a minute of the device is then three pupils' at least
_KEY = re.compile(r"[A-Za-z0-9_-]{22,200}")  # 128 bits, where letters are drawn at random


def _upper_case(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _folders(value: str) -> str:
    for part in value.split(os.pathsep):
        at_home(part.strip())
    return value


def _doors(value: str) -> str:
    for name in _parts(value):
        if name.lower() not in (*DOORS, "none"):
            raise PydanticCustomError("doors", f"Input should be some of {', '.join(DOORS)}")
    return value.lower()


def _keys(value: SecretStr) -> SecretStr:
    for key in _parts(value.get_secret_value()):
        if not _KEY.fullmatch(key):
            raise PydanticCustomError("keys", "Input should be keys of 22 to 200 letters, digits, "
                                              "- and _, separated by commas")
    return value


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Settings(EngineSettings):
    """What an operator may change; ``--help`` and docs/settings.md list every field."""

    # A Gradio Space sets the second, and shows nothing of a page that listens elsewhere.
    host: Annotated[str, Field(
        validation_alias=AliasChoices(f"{PREFIX}HOST", "GRADIO_SERVER_NAME"),
        description="Address that the page listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port that the page listens on.")] = 7860
    root_path: Annotated[str, Field(
        description="Path under which a proxy serves the page, such as /easel.")] = ""
    allowed_hosts: Annotated[str, Field(
        pattern=r"^[A-Za-z0-9.:, _\-\[\]]*$",
        description="Names that the page answers under beside this machine's own, such as that of "
                    "a proxy, separated by commas; empty for any where EASEL_HOST is not this "
                    "machine alone.")] = ""
    frame_ancestors: Annotated[str, Field(
        pattern=r"^[A-Za-z0-9.:/* _\-]*$",
        description="Sites that may show the page in a frame, such as https://example.org, "
                    "separated by blanks; empty for none but a Space's own.")] = ""
    database_url: Annotated[SecretStr, Field(
        description="Database of the history, such as postgresql://name:password@host/easel; "
                    "empty for SQLite in the data folder.")] = SecretStr("")
    files_url: Annotated[str, Field(
        description="Where the history's pictures and paused runs lie, such as s3://bucket/folder "
                    "with the keys of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "file:///folder; empty for the data folder.")] = ""
    history_quota: Annotated[Bytes, Field(
        description="Disk space that the pictures of the history may take together.",
    )] = ByteSize(20 * 10**9)
    visitor_quota: Annotated[Bytes, Field(
        description="Disk space that the pictures of one visitor may take.",
    )] = ByteSize(2 * 10**9)
    cache_quota: Annotated[Bytes, Field(
        description="Disk space that uploads and the pictures on open pages may take together.",
    )] = ByteSize(10 * 10**9)
    paused_quota: Annotated[Bytes, Field(
        description="Disk space that the paused runs of all visitors may take together, and "
                    "one visitor's a quarter of it.",
    )] = ByteSize(2 * 10**9)
    paused_runs: Annotated[int, Field(
        ge=0, le=1000, description="Paused runs that one visitor may have.")] = 10
    shared_password: Annotated[SecretStr, Field(
        description="Who knows it may sign in to a history that all of them share; empty for "
                    "none.")] = SecretStr("")
    models_by: Annotated[Literal["local", "everyone", "nobody"], BeforeValidator(lower_case), Field(
        description="Who may download, load, unload and pin models on the page: local is who "
                    "browses on this machine itself, not through a proxy.")] = "local"
    models_password: Annotated[SecretStr, Field(
        description="Who knows it may do so from anywhere; empty for nobody.")] = SecretStr("")
    queue_size: Annotated[int, Field(
        ge=0, le=10_000, description="Jobs that may wait while one runs; more are refused.")] = 20
    user_jobs: Annotated[int, Field(
        ge=1, le=10_000, description="Jobs of one visitor that may wait or run; more are refused.",
    )] = 4
    job_seconds: Annotated[int, Field(
        ge=0, description="Seconds of the device that one visitor's job may take; it is stopped "
                          "then and keeps its best so far; 0 for no limit.")] = 3600
    visitor_seconds: Annotated[int, Field(
        ge=0, description="Seconds of the device that one visitor may take in a minute, on "
                          "average; who took more waits; 0 for no limit. With "
                          "EASEL_CLASSROOM it is 20 unless it is set.")] = 0
    classroom: Annotated[bool, Field(
        description="Show everybody on /wall what all visitors draw, for a class.")] = False
    classroom_filter: Annotated[str, Field(
        description="Id of a public CLIP, such as openai/clip-vit-b-32, that looks at pictures of "
                    "public models before the wall shows them; empty for none.")] = ""
    max_upload: Annotated[Bytes, Field(
        description="Largest file that the page takes, such as 16MB.")] = ByteSize(16 * 10**6)
    search_folders: Annotated[str, AfterValidator(_folders), Field(
        description="Folders of pictures on this machine that every visitor may search, separated "
                    "as in PATH; empty for none.")] = ""
    backend: Annotated[Literal["local", "ray"], BeforeValidator(lower_case), Field(
        description="Who draws: local is this machine, ray a cluster, see docs/cluster.md.",
    )] = "local"
    ray_address: Annotated[str, Field(
        description="Host and port of the cluster's head, such as head:6379; empty for the cluster "
                    "that was started on this machine.")] = ""
    ray_app: Annotated[str, Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_\-]{0,62}$",
        description="Name of Easel among what else the cluster runs.")] = "easel"
    runners: Annotated[int, Field(
        ge=1, le=MOST_RUNNERS, description="Runners of a cluster, each with its own models; "
                                           "where EASEL_MAX_RUNNERS is set, as many at least.")] = 2
    max_runners: Annotated[int, Field(
        ge=0, le=MOST_RUNNERS, description="Runners of a cluster at most: there are more of them "
                                           "while people wait long, and fewer after a quiet time; "
                                           "0 for as many as EASEL_RUNNERS at any time.")] = 0
    runner_wait: Annotated[int, Field(
        ge=1, le=86_400, description="Seconds of work for each runner that people may wait before "
                                     "one more comes, up to EASEL_MAX_RUNNERS.")] = 30
    runner_idle: Annotated[int, Field(
        ge=1, le=86_400, description="Seconds in which never all runners had work, after which "
                                     "some go, down to EASEL_RUNNERS.")] = 600
    runner_gpus: Annotated[float, Field(
        ge=0, le=64, description="Accelerators that a runner takes; 0 to compute on the CPU, with "
                                 "EASEL_THREADS.")] = 0
    doors: Annotated[str, AfterValidator(_doors), Field(
        description="Interfaces of others that programs may use, of openai, a1111 and "
                    "mcp, separated by commas; empty for all, none for none.")] = ""
    api_keys: Annotated[SecretStr, AfterValidator(_keys), Field(
        description="Keys of 22 or more letters and digits, separated by commas, one of which "
                    "programs must send to such an interface; empty for none needed.",
    )] = SecretStr("")
    metrics: Annotated[bool, Field(
        description="Whether /metrics tells figures to Prometheus.")] = True
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lower_case), Field(
        description="How the server's log is written: text for people, json for machines.",
    )] = "text"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper_case),
                         Field(
        description="How much the server's log says.")] = "INFO"

    def check_runners(self) -> None:
        """Refuse fewer runners at most than at least.

        Raises:
            EaselError: so it is said.
        """
        if 0 < self.max_runners < self.runners:
            raise EaselError("There cannot be at most {} runners and at least {}: see "
                             "EASEL_MAX_RUNNERS and EASEL_RUNNERS, or --max-runners and --runners.",
                             self.max_runners, self.runners)

    def minute_s(self) -> int | None:
        """Seconds of the device that a visitor may take in a minute; None for no limit."""
        is_set = "visitor_seconds" in self.model_fields_set
        return (CLASS_MINUTE_S if self.classroom and not is_set else self.visitor_seconds) or None

    def search_roots(self) -> tuple[Path, ...]:
        """The folders of ``search_folders``, absolute and with links resolved."""
        return tuple(beside_easel(Path(part.strip()).expanduser()).resolve()
                     for part in self.search_folders.split(os.pathsep) if part.strip())

    def open_doors(self) -> tuple[str, ...]:
        """The names of ``doors``."""
        return _parts(self.doors) or DOORS

    def keys(self) -> tuple[str, ...]:
        """The keys of ``api_keys``."""
        return _parts(self.api_keys.get_secret_value())

    def host_names(self) -> tuple[str, ...]:
        """The names of ``allowed_hosts``."""
        return _parts(self.allowed_hosts)


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        EaselError: one sentence that names the variable at fault.
    """
    return read_settings(Settings)


def unknown_settings() -> list[str]:
    """A sentence about each variable of the environment that looks like a setting but is not."""
    known = [name.upper() for name in Settings.model_fields]
    found = []
    for name in sorted(os.environ):
        own = name.removeprefix(PREFIX).upper()
        if name.startswith(PREFIX) and own not in known:
            near = difflib.get_close_matches(own, known, 1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else "."
            found.append(f"{shown_name(name)} is no setting of Easel{hint}")
    return found


def settings_help() -> str:
    """The settings as plain text for a terminal."""
    return "\n".join(f"  {name}={default}\n      {description}"
                     for name, default, description in described(Settings))
