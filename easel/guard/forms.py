"""What is wrong with a form before it is parsed: letters or a boundary that no browser sends."""

from __future__ import annotations

from python_multipart.multipart import parse_options_header

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
