"""The last net below every request: an error is logged in one piece and answered in one sentence.

Without it a web server prints what went wrong as it stands, with whatever a stranger wrote into it,
and answers with two words.
"""

from __future__ import annotations

import errno
import logging

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core.sentences import Sentence

logger = logging.getLogger(__name__)
UPLOAD = "/gradio_api/upload"
CALL = "/gradio_api/call/"
NO_CALL = Sentence("There is no such call, or it was answered already.")
CALL_BY_NAMES = "/gradio_api/call/v2/"
UNEXPECTED = "Something went wrong on this machine; the details are in the server's log."
ODD_UPLOAD = "The upload holds no file that has a name."
ODD_REQUEST = "The request does not hold what this address takes."
NO_ADDRESS = "There is no such address."
NOT_WRITTEN = "The upload could not be written: the disk may be full."


class ErrorNet:
    """Catches what the application below raises.

    Args:
        app: what answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except ClientDisconnect:  # nobody is there to be answered
            logger.info("a client of %s hung up", scope["path"][:200])
        except Exception as error:
            status, sentence = _said(scope, error)
            if isinstance(error.__cause__, HTTPException):  # of a stream that had begun
                logger.info("a request of %s ended: %s", scope["path"][:200], error.__cause__)
            elif status == 500:
                logger.exception("a request of %s failed", scope["path"][:200])
            if not begun:
                await JSONResponse({"detail": sentence}, status)(scope, receive, send)
            elif CALL in scope["path"] and isinstance(error.__cause__, HTTPException):
                await send({"type": "http.response.body",
                            "body": f'event: error\ndata: "{NO_CALL}"\n\n'.encode()})
            # Else its reader sees by the missing end that it was cut short: uvicorn closes it.


def _said(scope: Scope, error: Exception) -> tuple[int, str]:
    """Status and sentence of an error."""
    if scope["path"].rstrip("/").endswith(UPLOAD):
        if isinstance(error, OSError):
            logger.warning("an upload could not be written: %s", error)
            return 507, NOT_WRITTEN
        if isinstance(error, TypeError):  # Gradio's, of a form without a file
            return 400, ODD_UPLOAD
    if CALL_BY_NAMES in scope["path"] and isinstance(error, (TypeError, ValueError, KeyError)):
        return 422, ODD_REQUEST  # Gradio's, of arguments that the function does not have
    if isinstance(error.__context__, RequestValidationError):
        return 422, ODD_REQUEST  # with a value that the answer would have repeated, and cannot hold
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return 404, NO_ADDRESS
    return 500, UNEXPECTED
