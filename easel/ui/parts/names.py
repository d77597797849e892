"""Names of models in running text: HTML in which no line ends within one."""

from __future__ import annotations

import re
from html import escape

# As model cards and papers write them: what tells two of a family apart stands behind a blank, a
# hyphen or a stroke, at each of which a browser may end a line.
NAMES = re.compile(
    r"SigLIP 2(?: [A-Z]+\d*[A-Z]*/\d+)?|(?:CLIP )?ViT-[A-Z]\w*/\d+|DALL·E (?:2|mini|mega)\b"
    r"|Janus-Pro \d+B|Kandinsky \d\.\d|FLUX\.\d klein|VQGAN (?:ImageNet(?: f\d+)?|f\d+)"
    r"|EfficientNet-Lite\d|LAION-\dB|U-Net")


def with_names(text: str) -> str:
    """Plain text as HTML, escaped, with each name of a model in one piece (style.css)."""
    return NAMES.sub(lambda found: f'<span class="name">{found.group()}</span>', escape(text))
