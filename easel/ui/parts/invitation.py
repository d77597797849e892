"""What an empty part of the page shows: pictures by Easel, a press on which tries the part out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from easel.words.language import say

MAX_SHOWN = 6


def served(owner: gr.HTML, paths: Iterable[Path]) -> list[str]:
    """Files where components may hold them and a browser may fetch them.

    Args:
        owner: component that serves them for as long as the page runs.
        paths: the files; those that are not there are left out.
    """
    found = []
    for path in paths:
        cached = owner.move_resource_to_block_cache(path) if path.is_file() else None
        if cached:
            owner.keep_in_cache.add(cached)
            found.append(cached)
    return found


def invitation(label: str, pictures: Sequence[str], button: str) -> str:
    """Pictures to press; empty where there are none.

    Args:
        label: what they are, in English.
        pictures: files of ``served``; the first few are shown.
        button: ``elem_id`` of the button that page.js presses.
    """
    if not pictures:
        return ""
    shown = "".join(f'<img src="gradio_api/file={escape(quote(path))}" alt="" loading="lazy" '
                    'width="96" height="96">' for path in pictures[:MAX_SHOWN])
    return (f'<button type="button" class="invitation" data-press="{escape(button)}">'
            f"<span>{shown}</span><b>{escape(say(label))}</b></button>")
