"""Comparisons saved as zip files and opened again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from easel.compare.bundle import Bundle, make_bundle, read_zip, write_zip
from easel.compare.plan import Plan, share_pictures
from easel.guard.made_of import digest_of, note, noted
from easel.serving.jobs import Usage
from easel.ui.compare.fold import start_comparison
from easel.ui.compare.state import Comparison, Pane
from easel.ui.parts.facts import facts_of
from easel.ui.parts.panel import Card
from easel.ui.parts.pictures import PictureStore, read_shown, size_of
from easel.ui.parts.uploads import read_upload
from easel.ui.playground import Playground
from pipelines.calibration import calibration_of
from pipelines.core.errors import EaselError
from pipelines.core.files import safe_stem
from pipelines.core.metadata import versions
from pipelines.core.request import CheckedRequest
from pipelines.core.sentences import Sentence


def bundle_of(comparison: Comparison) -> Bundle:
    """A finished comparison as a bundle; a blind one is not saved before its vote.

    Raises:
        EaselError: it is not over, or not voted on.
    """
    if not comparison.is_over() or not any(pane.panel.cards for pane in comparison.panes):
        raise EaselError("There is no finished comparison to save.")
    if comparison.hidden:
        raise EaselError("A blind comparison can be saved after the vote.")
    facts = {"prompt": comparison.prompt, "budget_s": comparison.plan.budget_s,
             "blind": comparison.blind, "vote": comparison.choice, "versions": versions(),
             "panes": [{**_pane_facts(pane), "prompt": own} for pane, own in zip(
                 comparison.panes, comparison.plan.own_prompts, strict=True)]}
    return make_bundle(facts, [[read_shown(card.path) for card in pane.panel.cards]
                               for pane in comparison.panes],
                       [pane.request for pane in comparison.panes])


def _pane_facts(pane: Pane) -> dict[str, Any]:
    panel = pane.panel
    weights = dict(pane.facts.get("weights") or {}) if pane.facts is not None else pane.weights
    return {"pipeline": panel.name, "title": panel.title, "num_images": pane.request.num_images,
            "seed": pane.request.seed, "options": dict(pane.request.options),
            "weights": weights, "elapsed_s": panel.elapsed_s,
            "device_s": pane.usage.device_s, "peak_memory_bytes": pane.usage.peak_memory_bytes,
            "stopped": panel.phase == "stopped",
            "pictures": [{"seed": card.seed, "guide_score": card.guide_score, "scores": {
                name: value for name, value in (("clip", card.clip_score),
                                                ("probability", card.probability))
                if value is not None}} for card in panel.cards]}


def save_comparison(comparison: Comparison, store: PictureStore) -> str:
    """Write a comparison as a zip file where a browser can fetch it; returns its path.

    Raises:
        EaselError: it cannot be saved or written, or there is no room for it.
    """
    bundle = bundle_of(comparison)
    data = write_zip(bundle)
    store.take_room([data])
    path = store.new_folder() / f"comparison-{safe_stem(comparison.prompt)}.zip"
    made_of = {digest_of(data) for data in bundle.files.values()}
    made_of.update(each for card in comparison.cards() for each in noted(card.path))
    return str(store.write(path, data, made_of))


def read_bundle(path: str | Path) -> Bundle:
    """An uploaded comparison, which goes with the first of its pictures that is deleted for good.

    Raises:
        InvalidImage: it is no longer there.
        BundleError: the file is not one.
    """
    data = read_upload(path)
    bundle = read_zip(data)
    with suppress(OSError):  # on a full disk it is read all the same
        note(Path(path), map(digest_of, bundle.files.values()))
    return bundle


def open_comparison(bundle: Bundle, playground: Playground, store: PictureStore, session: str,
                    ) -> Comparison:
    """A saved comparison as if it had just been drawn.

    One with a generator or an option that this Easel lacks can be looked at all the same; the pane
    says that it cannot be drawn again.

    Raises:
        EaselError: its pictures cannot be written, or there is no room for them.
    """
    facts = bundle.facts
    store.take_room(bundle.files.values())
    plan, notices = _plan_of(bundle, playground)
    comparison = start_comparison(playground, plan, session, blind=False)
    comparison.blind, comparison.choice, comparison.opened = facts.blind, facts.vote, True
    if isinstance(facts.vote, int) and facts.vote >= len(facts.panes):
        comparison.choice = None
    folder = store.new_folder()
    for pane, saved, notice in zip(comparison.panes, facts.panes, notices, strict=True):
        cards, prompt = [], saved.prompt or facts.prompt
        here = saved.pipeline in playground.registry.names()
        pipeline = playground.registry.get(saved.pipeline) if here else None
        pane.notice = notice
        pane.known = playground.registry.knows(saved.pipeline)
        if pipeline is None:
            pane.panel.title = saved.title
        for picture in saved.pictures:
            path = store.write(folder / picture.file.replace("/", "-"),
                               bundle.files[picture.file], ())
            cards.append(Card(path, prompt, saved.title, picture.seed,
                              picture.scores.get("clip"), picture.scores.get("probability"),
                              tuple(facts_of(saved.model_dump() | picture.model_dump(), pipeline)),
                              picture.guide_score, size_px=size_of(path),
                              scale=calibration_of(saved.model_dump(), prompt)))
        pane.panel.finish(cards, saved.elapsed_s, saved.stopped)
        pane.usage = Usage(saved.device_s, saved.peak_memory_bytes)
        pane.weights = dict(saved.weights)
    return comparison


def _plan_of(bundle: Bundle, playground: Playground) -> tuple[Plan, list[str]]:
    """What a saved comparison ran, and for each pane why it cannot be run here, empty where it can.
    """
    requests: list[CheckedRequest[Any]] = []
    notices = []
    facts, registry = bundle.facts, playground.registry
    panes, names = facts.requests(), registry.names()
    shared = share_pictures([registry.get(fields["pipeline"]) if fields["pipeline"] in names
                             else None for fields in panes], bundle.pictures)
    for fields, pictures in zip(panes, shared, strict=True):
        notice = ""
        whole = {"prompt": facts.prompt, **fields, **pictures}
        try:
            request = registry.check(whole)
        except EaselError as error:
            notice = Sentence("This cannot be drawn again here: {}", error.sentence)
            request = registry.as_saved(whole)
        requests.append(request)
        notices.append(notice)
    return Plan(tuple(requests), facts.budget_s), notices
