"""The SDK's server with strict tools, whose failures reach an assistant as one sentence each.

The SDK would drop arguments that a tool does not have, say of the others what pydantic prints, and
begin every sentence with the name of the tool.

Source: Model Context Protocol specification, "Tools: Error handling".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from easel.guard.error_net import UNEXPECTED
from pipelines.core.options import number_or_refused

MAX_SHOWN_CHARS = 40
# What a value should have been, in the words of JSON, by the beginning of pydantic's.
_WANTED = {"valid string": "text", "valid integer": "a whole number", "valid number": "a number",
           "number": "a number", "valid list": "a list", "valid dictionary": "an object",
           "valid boolean": "true or false"}


def strict_tool(function: Callable[..., Any], hints: ToolAnnotations) -> Tool:
    """A tool that takes the arguments of a function and no others.

    Args:
        function: whose docstring and annotations assistants read.
        hints: what it does to the world.
    """
    tool = Tool.from_function(function, annotations=hints, structured_output=False)
    model = tool.fn_metadata.arg_model
    strict = type(model.__name__, (model,), {
        "__module__": __name__, "model_config": ConfigDict(extra="forbid"),
        "numbers": field_validator("*", mode="before")(classmethod(_number))})
    return tool.model_copy(update={
        "fn_metadata": tool.fn_metadata.model_copy(update={"arg_model": strict}),
        "parameters": strict.model_json_schema(by_alias=True)})


def _number(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    return number_or_refused(value, cls.model_fields[info.field_name or ""])


class ToolServer(MCPServer[Any]):
    """Serves tools of ``strict_tool``."""

    def __init__(self, name: str, tools: Sequence[Tool], **more: Any) -> None:
        super().__init__(name, tools=list(tools), **more)
        self._models: dict[str, type[BaseModel]] = {
            tool.name: tool.fn_metadata.arg_model for tool in tools}

    async def call_tool(self, name: str, arguments: dict[str, Any],
                        context: Context[Any, Any] | None = None) -> Any:
        """See the SDK's.

        Raises:
            ToolError: one sentence.
        """
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError as error:
            raise UnexpectedToolError(UNEXPECTED) from error.__cause__
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                said = argument_fault(name, error.__cause__, self._models[name])
            elif name not in self._models:
                said = (f"There is no tool called {_shown(name)}; there are: "
                        f"{', '.join(self._models)}.")
            else:
                said = str(error.__cause__ or error)
            raise ToolError(said) from None


def argument_fault(tool: str, error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a call's arguments in one sentence: a wrong name before one that lacks.

    Args:
        tool: its name.
        error: what pydantic found.
        model: of the arguments.
    """
    faults = error.errors(include_url=False, include_context=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    *above, last = fault["loc"] or ("",)
    if fault["type"] == "extra_forbidden":
        known = [*(_model_at(model, above) or model).model_fields]
        return (f"{_path(above) or tool} has no argument called {_shown(str(last))}; there are: "
                f"{', '.join(known) or 'none'}.")
    where = _path(fault["loc"])
    if fault["type"] == "missing":
        return f"{where} is missing: {tool} needs it."
    said = fault["msg"].split(", unable")[0].split(", got")[0]
    if fault["type"].endswith(("too_short", "too_long")):
        wanted = said.partition(" should have ")[2].partition(" after validation")[0]
        return f"{where} must have {wanted}."
    wanted = said.removeprefix("Input should be ").removeprefix("a ")
    wanted = next((words for start, words in _WANTED.items() if wanted.startswith(start)), wanted)
    return f"{where} must be {wanted}, not {_shown(fault['input'])}."


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The model of an object within the arguments; None where it is not a model's."""
    found: Any = model
    for part in path:
        if isinstance(part, str):
            field = getattr(found, "model_fields", {}).get(part)
            found = None if field is None else field.annotation
        else:
            found = next(iter(getattr(found, "__args__", ())), None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _path(parts: Sequence[int | str]) -> str:
    """Where a value stands, as in ``panes[0].generator``."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _shown(value: Any) -> str:
    """A value as JSON writes it, short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS - 1]}…"
