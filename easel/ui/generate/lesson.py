"""How each generator works, in a few sentences that fold away."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from easel.ui.words.language import say

RANKING = (
    "How CLIP ranks",
    "CLIP turns a prompt and a picture each into a vector of the same space. The score is the "
    "cosine of the angle between the two: the closer to 1, the better the picture fits the words. "
    "The ranker is not the CLIP that guides VQGAN+CLIP, because a picture that was optimised "
    "against one CLIP must not be judged by it.",
    "Radford et al., 2021, “Learning Transferable Visual Models From Natural Language "
    "Supervision”",
)
LESSONS = {
    "dalle": (
        "How DALL·E draws",
        "A picture is a grid of 16 × 16 codes, each one of the 15,625 that a VQGAN has for a patch "
        "of a picture. A transformer reads the prompt as it stands and writes the codes four at a "
        "time, each as two numbers drawn at random in proportion to how likely they are after the "
        "words and the codes so far. The VQGAN’s decoder turns the grid into pixels. Guidance "
        "compares what the model expects with the prompt and without it, and follows the "
        "difference.",
        "Ramesh et al., 2021, “Zero-Shot Text-to-Image Generation”",
    ),
    "unclip": (
        "How unCLIP draws",
        "CLIP knows of a text what a picture of it would look like, roughly. A first network, the "
        "prior, starts from noise and turns the prompt into a CLIP embedding as a picture would "
        "have it; switch it off, and the decoder gets the text’s own embedding instead, which "
        "shows what the prior is for. A second network, the decoder, starts from noise too and "
        "takes it away in a few steps until a picture is left that has this embedding. Because it "
        "draws from an embedding, it also draws variations of any picture, walks from one picture "
        "to another, and turns a picture towards what a text says. Guidance compares what the "
        "decoder sees with what it is told and without it, and follows the difference.",
        "Ramesh et al., 2022, “Hierarchical Text-Conditional Image Generation with CLIP Latents”",
    ),
    "kandinsky": (
        "How Kandinsky 2.2 draws",
        "The same idea as unCLIP’s, trained on photographs and paintings of the web: a prior of a "
        "billion weights imagines a CLIP embedding, and a decoder draws latents that MoVQ turns "
        "into pixels. Its parts come to the device one after the other, so that it needs no more "
        "memory than the largest of them.",
        "Razzhigaev et al., 2023, “Kandinsky: an Improved Text-to-Image Synthesis with Image Prior "
        "and Latent Diffusion”",
    ),
    "vqgan_clip": (
        "How VQGAN+CLIP draws",
        "Nothing is trained here: a picture is improved until it fits. It starts as a plain field "
        "of a VQGAN’s latents. At every step the decoded picture is cut into many random pieces, a "
        "CLIP compares each piece with the prompt, and the gradient of that score moves the "
        "latents a little; the curves show how far the picture still is from the prompt and how "
        "well the CLIP says that it fits. Parts of a prompt may have weights, negative ones for "
        "what should not be there: “a red apple:2 | a worm:-0.5”.",
        "Crowson et al., 2022, “VQGAN-CLIP: Open Domain Image Generation and Editing with Natural "
        "Language Guidance”",
    ),
}


def render_lessons(pipeline_names: Iterable[str]) -> str:
    """Folds for the generators on offer, and one for the ranking."""
    lessons = [LESSONS[name] for name in pipeline_names if name in LESSONS]
    return "".join(
        f"<details class='lesson'><summary>{escape(say(title))}</summary>"
        f"<p>{escape(say(text))}</p><p class='paper'>{escape(paper)}</p></details>"
        for title, text, paper in [*lessons, RANKING])
