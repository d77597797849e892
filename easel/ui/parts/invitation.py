"""What a part of the page shows before it is used: pictures by Easel, to press and try it out."""

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


def drawn_earlier(label: str, pictures: Iterable[tuple[Path, str]]) -> str:
    """Pictures that each bring their prompt to Generate (page.js); empty where there are none.

    Args:
        label: what they are, in English.
        pictures: files of ``served`` with their prompts in English, which are said in the
            language to speak.
    """
    buttons = "".join(
        f'<button type="button" data-open="prompt" data-prompt="{escape(said)}">'
        f'<img src="gradio_api/file={escape(quote(str(path)))}" alt="" width="96" height="96">'
        f"{escape(said)}</button>" for path, said in (
            (path, say(prompt)) for path, prompt in pictures))
    return (f'<div class="drawn-earlier"><p class="hint">{escape(say(label))}</p>'
            f"<div>{buttons}</div></div>") if buttons else ""
