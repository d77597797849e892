"""Settings of a running Easel, from ``EASEL_*`` environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import AliasChoices, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.core.amounts import MemoryAmount, Share
from pipelines.core.errors import EaselError

PREFIX = "EASEL_"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Settings(BaseSettings):
    """What an operator may change; every field is listed in the README."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True,
                                      populate_by_name=True)

    # A Gradio Space sets the second, and shows nothing of a page that listens elsewhere.
    host: Annotated[str, Field(
        validation_alias=AliasChoices(f"{PREFIX}HOST", "GRADIO_SERVER_NAME"),
        description="Address that the page listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port that the page listens on.")] = 7860
    root_path: Annotated[str, Field(
        description="Path under which a proxy serves the page, such as /easel.")] = ""
    data_dir: Annotated[Path, Field(
        description="Folder for the history and, for a day, for uploads.")] = Path("data")
    database_url: Annotated[SecretStr, Field(
        description="Database of the history, such as postgresql://name:password@host/easel; "
                    "empty for SQLite in the data folder.")] = SecretStr("")
    history_quota: Annotated[ByteSize, Field(
        description="Disk space that the pictures of the history may take together.",
    )] = ByteSize(20 * 10**9)
    visitor_quota: Annotated[ByteSize, Field(
        description="Disk space that the pictures of one visitor may take.",
    )] = ByteSize(2 * 10**9)
    paused_quota: Annotated[ByteSize, Field(
        description="Disk space that the paused runs of all visitors may take together.",
    )] = ByteSize(2 * 10**9)
    paused_runs: Annotated[int, Field(
        ge=0, le=1000, description="Paused runs that one visitor may have.")] = 10
    shared_password: Annotated[SecretStr, Field(
        description="Who knows it may sign in to a history that all of them share; empty for "
                    "none.")] = SecretStr("")
    device: Annotated[str, Field(
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
        description="Where models run: auto, cpu, cuda, cuda:1, mps.")] = "auto"
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], Field(
        description="Number format of the models' weights.")] = "float32"
    threads: Annotated[int, Field(
        ge=0, le=1024, description="CPU threads of one computation; 0 leaves it to torch.")] = 0
    model_budget: Annotated[MemoryAmount, Field(
        description="Memory of the device that models may take together, such as 2GB or 50%.",
    )] = Share(80)
    host_budget: Annotated[MemoryAmount, Field(
        description="Main memory for models that left an accelerator, such as 8GB or 50%; not used "
                    "where models run on the CPU, unless set.")] = Share(50)
    activation_reserve: Annotated[ByteSize, Field(
        description="Memory of the device that models leave to the computation, such as 2GB.",
    )] = ByteSize(2 * 10**9)
    catalogue: Annotated[Path | None, Field(
        description="File with models of your own, as in assets/catalogue.toml; empty for "
                    "catalogue.toml in the data folder.")] = None
    offline: Annotated[bool, Field(
        description="Download nothing, even when asked.")] = False
    models_by: Annotated[Literal["local", "everyone", "nobody"], Field(
        description="Who may download, load, unload and pin models on the page: local is who "
                    "browses on this machine itself, not through a proxy.")] = "local"
    models_password: Annotated[SecretStr, Field(
        description="Who knows it may do so from anywhere; empty for nobody.")] = SecretStr("")
    queue_size: Annotated[int, Field(
        ge=0, le=10_000, description="Jobs that may wait while one runs; more are refused.")] = 20
    user_jobs: Annotated[int, Field(
        ge=1, le=10_000, description="Jobs of one visitor that may wait or run; more are refused.",
    )] = 4
    max_upload: Annotated[ByteSize, Field(
        description="Largest file that the page takes, such as 16MB.")] = ByteSize(16 * 10**6)
    search_folders: Annotated[str, Field(
        description="Folders of pictures on this machine that every visitor may search, separated "
                    "as in PATH; empty for none.")] = ""
    metrics: Annotated[bool, Field(
        description="Whether /metrics tells figures to Prometheus.")] = True
    log_format: Annotated[Literal["text", "json"], Field(
        description="How the server's log is written: text for people, json for machines.",
    )] = "text"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(
        description="How much the server's log says.")] = "INFO"

    def torch_device(self) -> torch.device:
        """The device to use; "auto" takes an accelerator where there is one.

        Raises:
            EaselError: the device is not on this machine.
        """
        if self.device != "auto":
            device = torch.device(self.device)
        elif torch.cuda.is_available():
            device = torch.device("cuda")
        else:
            device = torch.device("cpu")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise EaselError(f"{PREFIX}DEVICE asks for {self.device}, which this machine lacks.")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise EaselError(f"{PREFIX}DEVICE asks for mps, which this machine lacks.")
        return device

    def search_roots(self) -> tuple[Path, ...]:
        """The folders of ``search_folders``, absolute and with links resolved."""
        return tuple(Path(part.strip()).expanduser().resolve()
                     for part in self.search_folders.split(os.pathsep) if part.strip())

    def torch_dtype(self) -> torch.dtype:
        """The dtype of ``dtype``."""
        return DTYPES[self.dtype]


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        EaselError: one sentence that names the variable at fault.
    """
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = f"{PREFIX}{str(fault['loc'][0]).upper()}" if fault["loc"] else "A setting"
        message = fault["msg"].removeprefix("Input should be ")
        raise EaselError(f"{name} is not valid: {message}, not {fault['input']!r}.") from None


def _described() -> Iterator[tuple[str, str, str]]:
    """Variable, default as one would write it, and description of every setting."""
    for name, info in Settings.model_fields.items():
        default = info.default
        shown = f"{default // 10**6}MB" if isinstance(default, ByteSize) else str(default or "")
        yield f"{PREFIX}{name.upper()}", "0" if default == 0 else shown, info.description or ""


def settings_table() -> str:
    """The settings as a Markdown table for the README."""
    lines = ["| variable | default | what it does |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {f'`{default}`' if default else 'empty'} | {description} |"
              for name, default, description in _described()]
    return "\n".join(lines)


def settings_help() -> str:
    """The settings as plain text for a terminal."""
    return "\n".join(f"  {name}={default}\n      {description}"
                     for name, default, description in _described())
