"""Settings of the engine, from ``EASEL_*`` environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.core.amounts import Bytes, MemoryAmount, Share
from pipelines.core.errors import EaselError

if TYPE_CHECKING:
    import torch

PREFIX = "EASEL_"
ROOT = Path(__file__).resolve().parents[2]


def lower_case(value: Any) -> Any:
    """A word in the letters of its choices."""
    return value.strip().lower() if isinstance(value, str) else value


def at_home(value: Any) -> Any:
    """A path with ~ as the home folder: unit files and .env files have no shell to do it."""
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise PydanticCustomError("home", "Input should be a path; nobody here has that home") \
            from None


def own_folder() -> Path:
    """Where relative paths begin: the checkout; installed as a package, a folder of the user's."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "easel"


def beside_easel(path: Path, sign: str = "") -> Path:
    """A relative path below Easel's own folder, so that it means the same wherever it is started.

    Args:
        path: absolute, or relative.
        sign: what is in it. Where that is only there below the folder in which Easel was started,
            as an older Easel took such paths, that one is meant.
    """
    if path.is_absolute():
        return path
    own, here = own_folder() / path, Path.cwd() / path
    return here if (here / sign).exists() and not (own / sign).exists() else own


def _beside_easel(path: Path | None) -> Path | None:
    return None if path is None else beside_easel(path)


def _data_folder(path: Path) -> Path:
    return beside_easel(path, "history")


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?|mps", value, re.ASCII):
        raise PydanticCustomError("device", "Input should be auto, cpu, cuda, cuda:1 or mps")
    return value


class EngineSettings(BaseSettings):
    """Where and how models compute; ``easel.settings`` adds what a server needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True,
                                      populate_by_name=True)

    device: Annotated[str, BeforeValidator(lower_case), AfterValidator(_device), Field(
        description="Where models run: auto, cpu, cuda, cuda:1, mps.")] = "auto"
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], BeforeValidator(lower_case), Field(
        description="Number format of the models' weights.")] = "float32"
    threads: Annotated[int, Field(
        ge=0, le=1024, description="CPU threads of one computation; 0 leaves it to torch.")] = 0
    model_budget: Annotated[MemoryAmount, Field(
        description="Memory of the device that models may take together, such as 2GB or 50%.",
    )] = Share(80)
    host_budget: Annotated[MemoryAmount, Field(
        description="Main memory for models that left an accelerator, such as 8GB or 50%; not used "
                    "where models run on the CPU, unless set.")] = Share(50)
    activation_reserve: Annotated[Bytes, Field(
        description="Memory of the device that models leave to the computation, such as 2GB.",
    )] = ByteSize(2 * 10**9)
    data_dir: Annotated[Path, BeforeValidator(at_home), AfterValidator(_data_folder), Field(
        validate_default=True,
        description="Folder for the history, downloaded models and, for a day, uploads; a "
                    "relative one is below Easel's own folder.")] = Path("data")
    catalogue: Annotated[Path | None, BeforeValidator(at_home), AfterValidator(_beside_easel),
                         Field(
        description="File with models of your own, as in assets/catalogue.toml; empty for "
                    "catalogue.toml in the data folder.")] = None
    offline: Annotated[bool, Field(
        description="Download nothing, even when asked.")] = False

    def torch_device(self) -> torch.device:
        """The device to use; "auto" takes an accelerator where there is one.

        Raises:
            EaselError: the device is not on this machine.
        """
        import torch  # takes seconds, and most who read settings draw nothing

        if self.device != "auto":
            device = torch.device(self.device)
        elif torch.cuda.is_available():
            device = torch.device("cuda")
        else:
            device = torch.device("cpu")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise EaselError("{}DEVICE asks for {}, which this machine lacks.", PREFIX, self.device)
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise EaselError("{}DEVICE asks for mps, which this machine lacks.", PREFIX)
        return device

    def torch_dtype(self) -> torch.dtype:
        """The dtype of ``dtype``."""
        import torch

        return getattr(torch, self.dtype)


Kind = TypeVar("Kind", bound=EngineSettings)


def read_settings(kind: type[Kind]) -> Kind:
    """Read settings of a kind from the environment.

    Raises:
        EaselError: one sentence that names the variable at fault.
    """
    try:
        return kind()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0]).upper().removeprefix(PREFIX) if fault["loc"] else ""
        name = f"{PREFIX}{name}" if name else "A setting"
        field = str(fault["loc"][0]).lower().removeprefix(PREFIX.lower()) if fault["loc"] else ""
        info = kind.model_fields.get(field)
        message = _wanted(fault["type"], fault["msg"], info)
        if info is not None and info.annotation is SecretStr:  # passwords stay out of logs
            raise EaselError("{} is not valid: {}.", name, message) from None
        raise EaselError("{} is not valid: {}, not {!r}.", name, message, fault["input"]) from None


def _wanted(fault: str, message: str, info: FieldInfo | None) -> str:
    """What a setting should have been, in words that end a sentence.

    Args:
        fault: pydantic's name for it.
        message: pydantic's own words.
        info: of the setting.
    """
    if fault.startswith("bool"):
        return "true or false"
    if fault == "string_pattern_mismatch":
        return "names such as example.org"
    if info is not None and info.annotation is int:
        low, high = (next((getattr(bound, name) for bound in info.metadata
                           if hasattr(bound, name)), None) for name in ("ge", "le"))
        return ("a whole number" + (f" between {low} and {high}" if high is not None else
                                    f", {low} or more" if low is not None else ""))
    return message.removeprefix("Input should be ")


def described(kind: type[EngineSettings]) -> Iterator[tuple[str, str, str]]:
    """Variable, default as one would write it, and description of every setting."""
    for name, info in kind.model_fields.items():
        default = info.default
        shown = f"{default // 10**6}MB" if isinstance(default, ByteSize) else str(default or "")
        yield f"{PREFIX}{name.upper()}", "0" if default == 0 else shown, info.description or ""
