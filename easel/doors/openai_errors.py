"""Errors as OpenAI's API writes them: a status, and a message with its type, parameter and code.

Source: OpenAI's API reference, "Error codes", and answers of that API as its users quote them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from easel.doors.askers import KeyFault
from easel.guard.held_bodies import BodyFault
from easel.words.language import language_of, say, speaking
from pipelines.core.errors import Busy, EaselError, InvalidImage, InvalidRequest

USER_ERROR, SERVER_ERROR = "invalid_request_error", "server_error"
# Our names of fields, and theirs.
PARAMS = {"pipeline": "model", "num_images": "n", "init_image": "image"}


class Refusal(Exception):
    """What is said instead of pictures.

    Args:
        status: of the answer.
        message: one sentence.
        param: the parameter at fault.
        code: OpenAI's word for the fault.
        kind: OpenAI's word for the kind of fault.
    """

    def __init__(self, status: int, message: str, param: str | None = None,
                 code: str | None = None, kind: str = USER_ERROR) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind
        self.error = {"message": message, "type": kind, "param": param, "code": code}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {"retry-after": "5"} if self.status in (429, 503) else None
        return JSONResponse({"error": self.error}, self.status, headers)


def refusal_of(error: Exception, headers: Headers) -> Refusal:
    """An error as OpenAI would say it; one of Easel's own in the language of the request."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, KeyFault):
        return _no_key(error)
    if isinstance(error, BodyFault):
        kind = SERVER_ERROR if error.status == 503 else USER_ERROR
        return Refusal(error.status, str(error), error.field, kind=kind)
    if not isinstance(error, EaselError):
        raise error
    with speaking(language_of(headers)):
        message = say(str(error))
    if isinstance(error, Busy):
        return Refusal(429, message, None, "rate_limit_exceeded", "requests")
    if isinstance(error, InvalidRequest):
        param = PARAMS.get(error.field, error.field) if error.field else None
        if isinstance(error, InvalidImage):
            return Refusal(400, message, param or "image", "invalid_image_file")
        return Refusal(400, message, param, "invalid_value")
    return Refusal(500, message, kind=SERVER_ERROR)


def _no_key(error: KeyFault) -> Refusal:
    if not error.given:
        return Refusal(401, "You didn't provide an API key. You need to provide your API key in an "
                            "Authorization header using Bearer auth (i.e. Authorization: Bearer "
                            "YOUR_KEY).")
    shown = f"{error.given[:4]}***" if len(error.given) > 8 else "***"
    return Refusal(401, f"Incorrect API key provided: {shown}.", None, "invalid_api_key")


def missing(param: str) -> Refusal:
    """A parameter that is needed is not there."""
    return Refusal(400, f"Missing required parameter: '{param}'.", param,
                   "missing_required_parameter")


def unknown(param: str) -> Refusal:
    """A parameter that there is not."""
    return Refusal(400, f"Unknown parameter: '{param[:64]}'.", param[:64], "unknown_parameter")


def unsupported(param: str) -> Refusal:
    """A parameter that another model would take."""
    return Refusal(400, f"Unsupported parameter: '{param}' is not supported with this model.",
                   param, "unsupported_parameter")


def wrong_type(param: str, wanted: str, value: Any) -> Refusal:
    """A value of another type."""
    kinds = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string",
             list: "an array", dict: "an object", type(None): "null"}
    found = kinds.get(type(value), "something else")
    return Refusal(400, f"Invalid type for '{param}': expected {wanted}, but got {found} instead.",
                   param, "invalid_type")


def not_among(param: str, value: str, allowed: Collection[str]) -> Refusal:
    """A value that is not one of those there are."""
    *most, last = [f"'{each}'" for each in allowed]
    several = ", ".join(most) + ("," if len(most) > 1 else "") + " and " if most else ""
    return Refusal(400, f"Invalid value: '{value[:64]}'. Supported values are: {several}{last}.",
                   param, "invalid_value")


def out_of_bounds(param: str, value: int, low: int, high: int) -> Refusal | None:
    """A whole number below or above its bounds; None where it is between them."""
    if value < low:
        return Refusal(400, f"Invalid '{param}': integer below minimum value. Expected a value >= "
                            f"{low}, but got {value} instead.", param, "integer_below_min_value")
    if value > high:
        return Refusal(400, f"Invalid '{param}': integer above maximum value. Expected a value <= "
                            f"{high}, but got {value} instead.", param, "integer_above_max_value")
    return None


def too_many(param: str, count: int, most: int) -> Refusal:
    """A list of more than there may be."""
    return Refusal(400, f"Invalid '{param}': array too long. Expected an array with maximum length "
                        f"{most}, but got an array with length {count} instead.", param,
                   "array_above_max_length")


def no_such_model(name: str) -> Refusal:
    """A picture is asked of a model that there is not."""
    return Refusal(400, f"The model '{name[:64]}' does not exist.", "model", "invalid_value",
                   "image_generation_user_error")
