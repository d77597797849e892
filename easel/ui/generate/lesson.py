"""How each generator works and how CLIP ranks, in a few sentences that fold away."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from easel.ui.parts.names import with_names
from easel.words.language import say
from pipelines.pipeline import Lesson

RANKING = Lesson(
    "How CLIP ranks",
    "CLIP turns a prompt and a picture each into a vector of the same space. The score is the "
    "cosine of the angle between the two: the closer to 1, the better the picture fits the words. "
    "The ranker is not the CLIP that guides VQGAN+CLIP, because a picture that was optimised "
    "against one CLIP must not be judged by it.",
    "Radford et al., 2021, “Learning Transferable Visual Models From Natural Language "
    "Supervision”")


def render_lessons(lessons: Mapping[str, Lesson]) -> str:
    """Folds for the generators on offer, by name, and one for the ranking."""
    return "".join(
        f"<details class='lesson' data-lesson='{escape(name)}'>"
        f"<summary>{with_names(say(title))}</summary>"
        f"<p>{with_names(say(text))}</p><p class='paper'>{with_names(paper)}</p></details>"
        for name, (title, text, paper) in {**lessons, "clip": RANKING}.items())
