"""The named endpoints, for `gradio_client` and plain HTTP; the page documents them at its foot."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.history.store import History
from easel.serving.best_of import MAX_DRAWN, check_drawn
from easel.serving.session_runs import Run
from easel.ui.generate.examples import EXAMPLES
from easel.ui.generate.run import prepare, stream_run
from easel.ui.parts.endpoints import (
    BOOLEAN,
    OBJECT,
    STRING,
    STRINGS,
    add_endpoint,
    json_value,
    picture_file,
)
from easel.ui.parts.errors import one_sentence, streamed
from easel.ui.parts.panel import Card, RunView
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import read_pictures
from easel.ui.parts.videos import write_video
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.request import (
    INIT_IMAGE,
    MASK,
    MAX_IMAGES,
    MAX_PARENTS,
    MAX_PROMPT_CHARS,
    SEED_COUNT,
)
from pipelines.core.sentences import several
from pipelines.registry import Registry

# What endpoints that draw have in common.
FILES = "PNG files, the best match first; then an mp4 of each generator where one is asked for"
OUTCOME = ("Progress while the run lasts; then pictures in the same order with generator, seed, "
           "scores and, where kept, id in the history; equal_to_seed where a better one has the "
           "same pixels, which are kept once; a run that was paused has a run_id; unknown_parents "
           "are those that are none of yours, which the pictures therefore do not have")
VIDEO = "Whether to make an mp4 of how each generator's pictures came about"


def add_endpoints(playground: Playground, store: PictureStore) -> None:
    """Add every endpoint to the page under construction. None of them shows on it."""
    _add_generate(playground, store)
    _add_stop(playground)
    _add_look_ups(playground)


def _add_generate(playground: Playground, store: PictureStore) -> None:
    names = list(playground.registry.names())

    @streamed
    def generate(request: gr.Request, prompt: str = strings.FIRST_PROMPT,
                 pipelines: Any = tuple(names[:1]), num_images: int | None = None,
                 seed: int | None = None, options: Any = None, init_image: str | None = None,
                 best_of: Any = None, video: Any = False, parents: Any = None,
                 image_prompts: list[str] | None = None, mask: str | None = None,
                 ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        def start(run: Run) -> Generator[RunView]:
            lineage = {} if parents is None else {"parents": parents}
            pictures = read_pictures(init_image, image_prompts, mask)
            choices = [choice | lineage | pictures
                       for choice in _choices(playground.registry, pipelines, num_images, options)]
            requests = prepare(playground, _text(prompt), seed, choices)
            for asked in requests if best_of is not None else ():
                check_drawn(best_of, asked.num_images)
            return stream_run(playground, store, requests, run, best_of or 0)

        return answer(playground, request, start, store, video, parents)

    add_endpoint(generate, [
        json_value(strings.FIRST_PROMPT, {**STRING, "minLength": 1, "maxLength": MAX_PROMPT_CHARS},
            "What to draw; vqgan_clip reads weights, as in 'a red apple:2 | a worm:-0.5', dalle "
            "takes it as it stands"),
        json_value(names[:1], {"type": "array", "items": {"enum": names}},
            "Names of generators, run one after the other"),
        json_value(None, {"type": "integer", "minimum": 1, "maximum": MAX_IMAGES},
            "Pictures from each generator; null for its default"),
        json_value(None, {"type": "integer", "minimum": 0, "maximum": SEED_COUNT - 1},
            "Start of the random numbers; null for a new one"),
        json_value(None, OBJECT, "Option values by name for each generator, as in "
            '{"dalle": {"temperature": 0.9}}; /pipelines lists them'),
        picture_file(INIT_IMAGE),
        json_value(None, {"type": "integer", "minimum": 1, "maximum": MAX_DRAWN},
            "How many pictures each generator draws to give its num_images best; null for no more"),
        json_value(False, BOOLEAN, VIDEO),
        json_value(None, {**STRINGS, "maxItems": MAX_PARENTS},
            "Ids of kept pictures that these come from, for their lineage in the history; null for "
            "none"),
        picture_file("image_prompts"),
        picture_file(MASK),
    ], [
        gr.File(visible=False, file_count="multiple", label=FILES),
        json_value({}, OBJECT, OUTCOME),
    ], "Draw a prompt with one or more generators and rank the pictures by CLIP.")


def answer(playground: Playground, request: gr.Request, start: Callable[[Run], Generator[RunView]],
           store: PictureStore, video: Any, parents: Any = None,
           ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
    """What an endpoint that draws yields: progress, then files with what they are.

    Args:
        playground: whose run it is, from the first reading to the last.
        request: who asks.
        start: checks what was asked for, and runs it.
        store: where videos are written.
        video: whether one of each generator is asked for.
        parents: ids that were named as the pictures' parents, checked by ``start``.

    Raises:
        EaselError: what went wrong.
    """
    view, run = RunView(), playground.runs.start(session_of(request), visitor_of(request))
    try:
        if not isinstance(video, bool):
            raise InvalidRequest("Video must be true or false.", field="video")
        with closing(start(run)) as views:
            for view in views:
                yield None, _progress(view)
        cards = view.joint_ranking() or [c for panel in view.panels for c in panel.cards]
        if not cards and not any(panel.paused_id for panel in view.panels):
            raise EaselError(several(panel.status() for panel in view.panels))
        films = [panel.film for panel in view.panels if video and panel.film is not None]
        yield ([str(card.path) for card in cards]
               + [str(write_video(store, film)) for film in films],
               _outcome(view, cards) | _without(playground.history, run.visitor, parents or ()))
    finally:
        playground.runs.end(run)


def _without(history: History | None, visitor: str, parents: Sequence[str]) -> dict[str, Any]:
    """What is told of parents that the pictures do not have: the visitor has no such pictures."""
    own = set() if history is None or not parents else set(
        history.owned(history.owner_of(visitor), parents))
    strange = [each for each in dict.fromkeys(parents) if each not in own]
    return {"unknown_parents": strange, "message": strings.PARENTS_UNKNOWN} if strange else {}


def _choices(registry: Registry, pipelines: Any, num_images: int | None, options: Any,
             ) -> list[dict[str, Any]]:
    """The request fields of each generator; what is not even a list is said in a sentence."""
    if not isinstance(pipelines, list) or not all(isinstance(p, str) for p in pipelines):
        raise InvalidRequest("Pipelines must be a list of names.", field="pipeline")
    if len(set(pipelines)) != len(pipelines):
        raise InvalidRequest("A generator is named twice: name each one once.", field="pipeline")
    options = {} if options is None else options
    if not isinstance(options, Mapping) or not all(isinstance(v, Mapping)
                                                   for v in options.values()):
        raise InvalidRequest('Options must be an object of objects, as in {"dalle": {}}.',
                             field="options")
    if strange := sorted(set(options) - set(pipelines)):
        raise InvalidRequest("There are options for {!r}, which does not run.", strange[0][:40],
                             field="options")
    return [{
        "pipeline": name,
        "num_images": (registry.get(name).default_num_images if num_images is None
                       else num_images),
        "options": dict(options.get(name, {})),
    } for name in pipelines]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRequest("The prompt must be text.", field="prompt")
    return value


def _progress(view: RunView) -> dict[str, Any]:
    return {"panels": [{"pipeline": p.name, "phase": p.phase, "step": p.step, "total": p.total,
                        "elapsed_s": round(p.elapsed_s, 3), "message": p.message,
                        **({"run_id": p.paused_id} if p.paused_id else {})}
                       for p in view.panels]}


def _outcome(view: RunView, cards: Sequence[Card]) -> dict[str, Any]:
    names = {panel.title: panel.name for panel in view.panels}
    return _progress(view) | {"pictures": [
        {"rank": rank, "pipeline": names[card.generator], "seed": card.seed,
         "clip": card.clip_score, "probability": card.probability,
         **({"id": card.picture_id} if card.picture_id else {}),
         **({} if card.equal_to_seed is None else {"equal_to_seed": card.equal_to_seed})}
        for rank, card in enumerate(cards, 1)]}


def _add_stop(playground: Playground) -> None:
    @one_sentence
    def stop(request: gr.Request) -> int:
        return playground.runs.stop(session_of(request), visitor_of(request))

    add_endpoint(stop, [], [json_value(0, {"type": "integer"}, "How many runs were told to stop")],
                 "Stop this client's runs within a step; what is finished by then is kept.",
                 queue=False)


def _add_look_ups(playground: Playground) -> None:
    def pipelines() -> dict[str, Any]:
        return {p.name: {"title": p.title, "summary": p.summary,
                         "default_num_images": p.default_num_images,
                         **p.accepts(),
                         "options": p.Options.model_json_schema()} for p in playground.registry}

    def examples() -> dict[str, list[str]]:
        return {kind: list(prompts) for kind, prompts in EXAMPLES.items()}

    @one_sentence
    def surprise() -> str:
        if playground.surprise is None:
            raise EaselError("The world is not installed here, so there are no surprises.")
        return playground.surprise()

    @one_sentence
    def unknown_words(prompt: str) -> list[str]:
        if playground.vocabulary is None:
            raise EaselError("The embedded vocabulary is not installed here.")
        return playground.vocabulary.unknown_words(_text(prompt)[:MAX_PROMPT_CHARS])

    add_endpoint(pipelines, [], [json_value({}, OBJECT, "Generators by name")],
                 "The generators, with the JSON schema of their options.", queue=False)
    add_endpoint(examples, [], [json_value({}, OBJECT, "Prompts by kind")],
                 "Prompts that the embedded models know how to draw.", queue=False)
    add_endpoint(surprise, [], [json_value("", STRING, "A prompt")],
                 "A new prompt, drawn from the world of the embedded models.", queue=False)
    add_endpoint(unknown_words, [json_value("", STRING, "A prompt")],
                 [json_value([], STRINGS, "Words without a place in the training captions")],
                 "Words of a prompt that the embedded models have never seen.", queue=False)
