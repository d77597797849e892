"""Papers that the page names, as links to where everybody may read them."""

from __future__ import annotations

import re
from html import escape

# By the first author and the year, as texts cite them.
PAPERS = {
    ("Chen", 2020): "https://proceedings.mlr.press/v119/chen20s.html",
    ("Crowson", 2022): "https://arxiv.org/abs/2204.08583",
    ("Esser", 2021): "https://arxiv.org/abs/2012.09841",
    ("Ho", 2022): "https://arxiv.org/abs/2207.12598",
    ("Isola", 2017): "https://arxiv.org/abs/1611.07004",
    ("Jain", 2019): "https://arxiv.org/abs/1902.10186",
    ("Li", 2016): "https://arxiv.org/abs/1612.08220",
    ("Mentzer", 2023): "https://arxiv.org/abs/2309.15505",
    ("Pearson", 1901): "https://doi.org/10.1080/14786440109462720",
    ("Radford", 2021): "https://arxiv.org/abs/2103.00020",
    ("Ramesh", 2021): "https://arxiv.org/abs/2102.12092",
    ("Ramesh", 2022): "https://arxiv.org/abs/2204.06125",
    ("Sutskever", 2014): "https://arxiv.org/abs/1409.3215",
    ("Vaswani", 2017): "https://arxiv.org/abs/1706.03762",
    ("Zeiler", 2014): "https://arxiv.org/abs/1311.2901",
}
CITED = re.compile(r"\b([A-Z]\w+)(?: et al\.| (?:and|e) [A-Z]\w+)? \((\d{4})\)")


def render_sources(text: str) -> str:
    """A text as HTML, in which each paper that it cites is a link."""
    def link(found: re.Match[str]) -> str:
        address = PAPERS.get((found[1], int(found[2])))
        return found[0] if address is None else (
            f'<a href="{address}" target="_blank" rel="noopener noreferrer">{found[0]}</a>')

    return CITED.sub(link, escape(text))
