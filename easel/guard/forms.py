"""What is wrong with a form, seen before whoever parses it holds any of it."""

from __future__ import annotations

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

from pipelines.core.sentences import Sentence

FILES_ALONE = Sentence("An upload holds files alone: a field of its form is none.")
ODD_FORM = "A form is in UTF-8, and its boundary has at most 70 letters."
CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")
MAX_BOUNDARY = 70  # RFC 2046, section 5.1.1


def is_odd_form(content_type: str) -> bool:
    """Whether a form is to be refused unread.

    Some of Python's encodings take a time that grows with the square of a text, and some fail in
    ways that no parser of forms expects.

    Args:
        content_type: the header.
    """
    _, options = parse_options_header(content_type)
    charset = options.get(b"charset", b"utf-8").lower()
    return charset not in CHARSETS or len(options.get(b"boundary", b"")) > MAX_BOUNDARY


class _Parts:
    """Looks at the head of each part of a form as it comes, and keeps nothing of the rest.

    Args:
        boundary: of the form.
        refusal: what is said of one that holds no file.
    """

    def __init__(self, boundary: bytes, refusal: str) -> None:
        self.refusal = refusal
        self._name = self._value = self._disposition = b""
        self.parser = MultipartParser(boundary, {
            "on_header_field": self._on_name, "on_header_value": self._on_value,
            "on_header_end": self._on_header, "on_headers_finished": self._on_head})

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_head(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        if b"filename" not in options:
            raise MultiPartException(self.refusal)


def files_alone(content_type: str, receive: Receive, refusal: str) -> Receive:
    """The messages of an upload, as far as it holds files.

    Gradio writes files to the disk as they come, but holds a field that is none in memory,
    whatever its length. What is raised here it takes for an error of its own: it removes what it
    has written, and says the sentence (400).

    Args:
        content_type: the header.
        receive: brings the upload.
        refusal: ``FILES_ALONE`` in the language of whoever asks.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if boundary is None:
        return receive  # no form, which Gradio says
    parts = _Parts(boundary, refusal)

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            parts.parser.write(message.get("body", b""))
        return message

    return checked
