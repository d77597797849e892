"""Two kept pictures under a slider, and what their settings differ in."""

from __future__ import annotations

from html import escape

from easel.history.records import KeptPicture
from easel.ui.history.render import kept_facts, picture_url
from easel.words import strings
from easel.words.language import say
from pipelines.registry import Registry


def render_two(first: KeptPicture, second: KeptPicture, registry: Registry) -> str:
    """The first over the second up to where the slider is, and a table of what differs.

    The stage has the proportions of the first; page.js moves the edge between them.
    """
    pictures = "".join(
        f'<img class="{name}" src="{picture_url(each)}" alt="{escape(each.prompt)}">'
        for name, each in (("under", second), ("over", first)))
    stage = (f'<div class="two-stage" style="--at:50%;aspect-ratio:{first.width_px}/'
             f'{first.height_px}">{pictures}</div>'
             f'<input type="range" min="0" max="100" value="50" data-two '
             f'aria-label="{escape(strings.TWO_SLIDER)}">')
    rows = [(label, one, other) for label, one, other in _facts(first, second, registry)
            if one != other]
    cells = "".join(f'<tr><th scope="row">{escape(say(label))}</th><td>{escape(say(one))}</td>'
                    f"<td>{escape(say(other))}</td></tr>" for label, one, other in rows)
    table = (f'<table class="lab-table two-table"><thead><tr><th></th>'
             f'<th scope="col">{escape(strings.TWO_LEFT)}</th>'
             f'<th scope="col">{escape(strings.TWO_RIGHT)}</th></tr></thead>'
             f"<tbody>{cells}</tbody></table>")
    return (f'<details open class="two"><summary>{escape(strings.TWO)}</summary>'
            f'<div class="two-desk"><div>{stage}</div>{table}</div></details>')


def _facts(first: KeptPicture, second: KeptPicture, registry: Registry,
           ) -> list[tuple[str, str, str]]:
    """Label and both values of all that is known of either; a dash where one has none."""
    one, other = (dict([(strings.PROMPT_LABEL, each.prompt), *kept_facts(each, registry)])
                  for each in (first, second))
    return [(label, one.get(label, "–"), other.get(label, "–")) for label in {**one, **other}]
