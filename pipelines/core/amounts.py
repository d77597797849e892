"""Amounts of memory as people write them: "2GB" or "50%"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Share:
    """A share of a memory, in percent."""

    percent: float

    def __str__(self) -> str:
        return f"{self.percent:g}%"

    @classmethod
    def parse(cls, text: str) -> Share:
        """From "50%".

        Raises:
            ValueError: it is no number, or not in (0, 100].
        """
        percent = float(text.removesuffix("%"))
        if not 0 < percent <= 100:
            raise ValueError("a share is more than 0% and at most 100%")
        return cls(percent)


class Amount:
    """Field type of bytes or a share: ``ByteSize`` from "2GB" or 2000, ``Share`` from "50%"."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._validate)

    @staticmethod
    def _validate(value: Any) -> ByteSize | Share:
        if isinstance(value, Share):
            return value
        try:
            if isinstance(value, str) and value.strip().endswith("%"):
                return Share.parse(value.strip())
            return _BYTES.validate_python(value)
        except ValueError:
            raise PydanticCustomError(
                "memory_amount", "Input should be bytes such as 2GB or a share such as 50%",
            ) from None


def _whole_amount(value: Any) -> Any:
    """Refuse what pydantic reads the beginning of alone: "50%" is not 50 bytes, nor "2,5GB" 2."""
    if isinstance(value, str) and not _AMOUNT.fullmatch(value.strip()):
        raise PydanticCustomError("bytes", "Input should be bytes such as 2GB")
    return value


# Blanks in one place alone: two runs of them side by side take a time in proportion to the square.
_AMOUNT = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)(?:\s*(?:b|bit|[kmgtpe](?:i?(?:b|bit))?))?",
                     re.ASCII | re.IGNORECASE)
Bytes = Annotated[ByteSize, BeforeValidator(_whole_amount)]
_BYTES = TypeAdapter(Bytes)
MemoryAmount = Annotated[ByteSize | Share, Amount]


def megabytes(size_bytes: float) -> str:
    """Bytes as people read them: "40 kB", "1.0 MB", "120 MB", "5.2 GB"."""
    if size_bytes < 1e5:
        return f"{size_bytes / 1e3:.0f} kB"
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"
