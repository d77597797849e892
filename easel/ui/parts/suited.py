"""Which CLIP judges pictures, why, and which pictures it cannot judge, for Lab and Rerank."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.turns import reading
from easel.serving.interface import Backend
from easel.ui.parts.names import with_names
from easel.ui.parts.uploads import read_upload
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError
from pipelines.core.images import load_small
from pipelines.core.metadata import read_png
from pipelines.ranker_choice import best_for_photographs
from pipelines.suited import (
    BY_PICTURES,
    OF_THE_WORLD,
    PHOTO_CLIP,
    better_clip,
    misfits,
    suited_clip,
)

MAX_LOOKED = 32  # pictures; more of them say nothing new of which CLIP suits
SIDE_PX = 256  # more than the classifier sees
# Pressed once the other CLIP is chosen, so that one click is enough.
GO_JS = """() => [...document.querySelectorAll("#rerank-run, .lab-buttons .primary")]
    .find((button) => !button.disabled && button.checkVisibility())?.click()"""


@dataclass(frozen=True)
class Suited:
    """Which CLIP judges.

    Attributes:
        model_id: the CLIP.
        by_pictures: whether it was chosen by what the pictures look like.
        misfits: whether each file that was looked at is unlike anything that the CLIP has seen.
    """

    model_id: str
    by_pictures: bool = False
    misfits: Mapping[Path, bool] = field(default_factory=dict)

    def of(self, paths: Sequence[Path]) -> list[bool]:
        """Whether each of some files is a misfit, as far as is known."""
        return [self.misfits.get(path, False) for path in paths]


def suited(backend: Backend, wanted: str, paths: Sequence[str | Path], job_id: str | None = None,
           here: Collection[str] = ()) -> Suited:
    """Decide which CLIP judges some pictures, and look which of them it can judge.

    Args:
        backend: where pictures are looked at.
        wanted: id of a CLIP, or ``BY_PICTURES``.
        paths: the pictures' files; what cannot be read is left to whoever reads them next.
        job_id: of the looking.
        here: ids of CLIPs on this machine; a public one judges photographs better than Easel's.

    Raises:
        Busy: the visitor's pictures are being read already, or so many others'.
        EaselError: the pictures should choose, and could not be looked at.
    """
    looked, images, own = [], [], []
    with reading.turn():
        for path in map(Path, paths[:MAX_LOOKED]):
            try:
                data = read_upload(path)
                images.append(load_small(data, SIDE_PX))
            except EaselError:
                continue
            looked.append(path)
            own.append(is_by_embedded(data))
    try:
        unlike = backend.unlike_the_world(images, job_id)
    except EaselError:
        if wanted == BY_PICTURES:
            raise
        return Suited(wanted)
    unlike = unlike & ~np.array(own, bool)
    best = best_for_photographs(here)
    model_id = suited_clip(unlike, best) if wanted == BY_PICTURES else wanted
    wrong = misfits(model_id, unlike)
    return Suited(model_id, wanted == BY_PICTURES,
                  {path: bool(each) for path, each in zip(looked, wrong, strict=True)})


def is_by_embedded(data: bytes) -> bool:
    """Whether a file says that Easel's embedded models drew it from words alone: they draw nothing
    but what the world's CLIPs have seen."""
    try:
        facts = read_png(data)["easel"]
        weights = list(facts["weights"])
    except (EaselError, KeyError, TypeError):
        return False
    brought = any(name.endswith("_sha256") for name in facts)  # such as a picture to start from
    return bool(weights) and not brought and all(
        str(each).startswith("embedded/") for each in weights)


def render_suited(found: Suited, titles: Mapping[str, str], place: str) -> str:
    """Why this CLIP, what it does not know, and which pictures it cannot judge; may be empty.

    Where there are such pictures the other CLIP is there to click.

    Args:
        found: the choice.
        titles: of the CLIPs on offer, by id.
        place: "lab" or "rerank", whose field a click changes.
    """
    said, title, photos = [], _title(found.model_id, titles), found.model_id == PHOTO_CLIP
    facts, world = [], found.model_id in OF_THE_WORLD
    if found.by_pictures:
        facts.append(f"{title}: {say(strings.SUITED_WORLD if world else strings.SUITED_PHOTOS)}")
    if photos:
        facts.append(say(strings.PHOTOS_LIMITS).format(title))
    if facts:
        said.append(f'<p class="lab-note">{with_names(" ".join(facts))}</p>')
    count = sum(found.misfits.values())
    if count and found.by_pictures:  # which suits most of them: the other one would suit fewer
        said.append(f'<p class="lab-note">{escape(say(strings.MISFITS_FEW).format(count))}</p>')
    elif count:
        other, total = better_clip(found.model_id), len(found.misfits)
        text = say(strings.MISFITS_ALL).format(title) if count == total else (
            say(strings.MISFITS).format(title, count, total))
        said.append(f'<p class="misfits" role="note">{with_names(text)} '
                    f'<button type="button" class="chip" data-wish="{place}" '
                    f'data-clip="{escape(other)}">'
                    f"{with_names(say(strings.USE_CLIP).format(_title(other, titles)))}"
                    "</button></p>")
    return "".join(said)


def _title(model_id: str, titles: Mapping[str, str]) -> str:
    return say(titles.get(model_id, model_id))


def build_wish(place: str, clips: gr.Dropdown | gr.CheckboxGroup) -> None:
    """The hidden field that a click on the other CLIP fills (page.js); it chooses and runs.

    Args:
        place: as for ``render_suited``.
        clips: the component that chooses.
    """
    wish = gr.Textbox(elem_id=f"{place}-clip-wish", elem_classes="offstage",
                      label=strings.LAB_CLIP)
    several = isinstance(clips, gr.CheckboxGroup)

    def choose(text: str | None) -> Any:
        model_id = (text or "").partition(" ")[0]
        return [model_id] if several else model_id

    wish.change(choose, wish, clips, queue=False, show_progress="hidden",
                api_visibility="private").then(None, None, None, js=GO_JS,
                                              api_visibility="private")
