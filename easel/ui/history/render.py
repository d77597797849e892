"""HTML of the history: the gallery and one picture. Every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from easel.history.days import write_moment
from easel.history.records import Family, Filters, KeptPicture, Page
from easel.ui.history.filters import query_of
from easel.ui.parts.facts import facts_of, title_of
from easel.ui.parts.panel import pictures
from easel.ui.parts.tiles import facts_list, score_mark, tile
from easel.words import strings
from easel.words.language import figure
from pipelines.calibration import calibration_of
from pipelines.core.metadata import picture_name
from pipelines.registry import Registry

RUN_GAP_S = 600.0  # pictures of one prompt with less between them are of one run
# Clicks on anything that names a picture; the element outlives what is put into it.
PICK = """element.addEventListener("click", (event) => {
  const picked = event.target.closest("[data-picture]");
  if (picked) trigger("click", { id: picked.dataset.picture });
});"""


def render_gallery(page: Page, filters: Filters, registry: Registry) -> str:
    """A page of thumbnails under a line that says what is shown."""
    if not page.total:
        hint = strings.HISTORY_NONE if filters == Filters() else strings.HISTORY_NO_MATCH
        if filters == Filters(deleted=True):
            hint = strings.HISTORY_NO_DELETED
        return f'<p class="kept-status" role="status">{escape(hint)}</p>'
    found = pictures(page.total)
    if page.more:
        found = strings.HISTORY_MORE.format(found, page.number)
    elif page.pages > 1:
        found = strings.HISTORY_PAGE.format(found, page.number, page.pages)
    export = (f'<a href="history/export?{escape(query_of(filters))}" download>'
              f"{escape(strings.HISTORY_EXPORT)}</a>")
    return (f'<p class="kept-status" role="status">{found} · {export}</p>'
            f'<div class="kept-runs"{" data-deleted" if filters.deleted else ""}>'
            f'{"".join(_run(run, registry) for run in runs(page.pictures))}</div>')


def runs(pictures: Sequence[KeptPicture]) -> list[list[KeptPicture]]:
    """Pictures, newest first, put together where they were drawn for one prompt in one go."""
    found: list[list[KeptPicture]] = []
    for picture in pictures:
        last = found[-1][-1] if found else None
        if (last is not None and picture.prompt == last.prompt
                and last.created_s - picture.created_s < RUN_GAP_S):
            found[-1].append(picture)
        else:
            found.append([picture])
    return found


def _run(pictures: Sequence[KeptPicture], registry: Registry) -> str:
    first = pictures[0]
    return (f'<section class="kept-run"><h3 title="{escape(first.prompt)}">{escape(first.prompt)}'
            f"<small>{write_moment(first.created_s)}</small></h3><div>"
            f'{"".join(_thumbnail(picture, registry) for picture in pictures)}</div></section>')


def _thumbnail(picture: KeptPicture, registry: Registry) -> str:
    """A tile with who drew it, how well it fits, its stars, a box that ticks it and its heart."""
    prompt, name = escape(picture.prompt), escape(picture.id)
    caption = (f'<span class="by">{escape(title_of(registry, picture.pipeline))}</span>'
               f"{_score(picture)}")
    if picture.rating:
        caption += (f'<span class="stars" title="{strings.STARS.format(picture.rating)}">'
                    f'{"★" * picture.rating}</span>')
    marks = (f'<input type="checkbox" class="pick" data-pick="{name}" '
             f'aria-label="{escape(strings.SELECT_KEPT.format(picture.prompt))}">'
             f'<input type="checkbox" class="heart" data-star="{name}" '
             f'aria-label="{escape(strings.FAVOURITE)}"{" checked" if picture.favourite else ""}>')
    title = escape(f"{picture.prompt} · {title_of(registry, picture.pipeline)}")
    return tile(f'<button type="button" class="frame" '
                f'data-picture="{name}" title="{title}" '
                f'aria-label="{escape(strings.OPEN_KEPT.format(picture.prompt))}">'
                f'<img src="{thumbnail_url(picture)}" alt="{prompt}" loading="lazy" '
                f'decoding="async"></button>{marks}', caption)


def _score(picture: KeptPicture) -> str:
    if picture.clip_score is None:
        return ""
    if (scale := calibration_of(picture.facts, picture.prompt)) is None:
        return score_mark(f"CLIP {figure(picture.clip_score, '.2f')}")
    percent = scale.percent(picture.clip_score)
    return score_mark(strings.FIT.format(percent), strings.FIT_TITLE.format(percent))


def render_picture(picture: KeptPicture) -> str:
    """The picture itself, large."""
    return (f'<img class="kept-large" src="{picture_url(picture)}" alt="{escape(picture.prompt)}" '
            f'width="{picture.width_px}" height="{picture.height_px}">')


def render_facts(picture: KeptPicture, registry: Registry) -> str:
    """The link that saves it, ways on from it, and everything that is known of it."""
    return (f'<p class="kept-save">'
            f'<a href="{picture_url(picture)}" download="{escape(picture_name(picture.facts))}">'
            f'{escape(strings.SAVE_PNG)}</a> <button type="button" class="chip" '
            f'data-look="{escape(picture.id)}">{escape(strings.SCORE)}</button> '
            f'<button type="button" class="chip" data-alike="{escape(picture.id)}">'
            f"{escape(strings.ALIKE_THIS)}</button></p>"
            f"{facts_list(kept_facts(picture, registry))}")


def render_prompt(picture: KeptPicture) -> str:
    """The head of the picture's page."""
    gone = f" <small>{escape(strings.DELETED_MARK)}</small>" if picture.deleted else ""
    return f'<h2 class="kept-prompt">{escape(picture.prompt)}{gone}</h2>'


def render_family(family: Family, registry: Registry) -> str:
    """What it was made from and what was made from it; empty where there is neither."""
    parts = []
    for title, members in ((strings.ANCESTORS, family.ancestors),
                           (strings.DESCENDANTS, family.descendants)):
        if members:
            tiles = "".join(_thumbnail(member, registry) for member in members)
            parts.append(f'<section class="kin" aria-label="{escape(title)}"><h3>{escape(title)}'
                         f'</h3><div class="kept">{tiles}</div></section>')
    return "".join(parts)


def thumbnail_url(picture: KeptPicture) -> str:
    """Where its visitor's browser finds the thumbnail, relative to the page."""
    return f"history/{escape(picture.id)}/thumbnail"


def picture_url(picture: KeptPicture) -> str:
    """Where its visitor's browser finds the PNG file, relative to the page."""
    return f"history/{escape(picture.id)}/picture"


def kept_facts(picture: KeptPicture, registry: Registry) -> Iterator[tuple[str, str]]:
    """Label and value of what a person may want to know of a kept picture."""
    known = registry.get(picture.pipeline) if picture.pipeline in registry.names() else None
    yield from facts_of({**picture.facts, "pipeline": picture.pipeline, "seed": picture.seed,
                         "width_px": picture.width_px, "height_px": picture.height_px}, known)
    yield "Drawn", write_moment(picture.created_s)
    if isinstance(versions := picture.facts.get("versions"), Mapping):
        yield "Versions", ", ".join(f"{name} {number}" for name, number in versions.items())
