"""What assistants may do by MCP: the tools, with typed arguments, on the page's requests.

A tool answers with pictures and with the same facts twice, as text and as structured content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from functools import partial
from typing import Annotated, Any

import numpy as np
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

from easel.compare.plan import plan_comparison
from easel.compare.ranking import rank_pictures, read_prompts
from easel.doors.askers import Asker
from easel.doors.bodies import picture_bytes
from easel.doors.in_turn import in_turn
from easel.doors.mcp_answers import answer
from easel.doors.runs import DoorRuns
from easel.guard.visitors import HEADER, UnknownVisitor
from easel.history.listing import present_ids
from easel.history.records import Filters, HistoryError
from easel.history.store import History
from easel.search.collections import history_collection
from easel.search.query import search as search_in
from easel.search.searcher import Searcher
from easel.search.update import update_index
from easel.serving.interface import Backend
from easel.serving.jobs import RunEvent
from easel.serving.session_runs import Run
from easel.settings import Settings
from pipelines.core.errors import Cancelled, EaselError, InvalidRequest
from pipelines.core.events import Candidate, Event, Progress, Result
from pipelines.core.images import load_small
from pipelines.core.metadata import png_of
from pipelines.core.request import MAX_IMAGE_PROMPTS, MAX_IMAGES, MAX_PROMPT_CHARS
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import Features
from pipelines.zero_shot import check_labels, check_templates, class_features, class_texts, classify

ASKER = "easel.asker"  # in a request's scope
UNKNOWN = ("Easel cannot know you: send a visitor's token, or one of the keys that its operator "
           f"names, as a bearer token; a token may come in the header {HEADER} too.")
MAX_PICTURES = 16
MAX_LISTED = 50
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
DRAWS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS,
                              description="What to draw, in English or Portuguese.")]
Seed = Annotated[int | None, Field(description="Start of the random numbers; null for new ones.")]
Ids = Annotated[list[str] | None, Field(
    max_length=MAX_PICTURES, description="Ids of kept pictures, as generate and history give "
                                         "them.")]
InitImage = Annotated[str | None, Field(
    description="Picture to start from, in base64, or the id of a kept one.")]
ImagePrompts = Annotated[list[str] | None, Field(
    max_length=MAX_IMAGE_PROMPTS,
    description="Pictures that the result should be like, each as init_image.")]
Mask = Annotated[str | None, Field(
    description="Picture, white or transparent where init_image may change.")]
Images = Annotated[list[str] | None, Field(
    max_length=MAX_PICTURES, description="PNG, JPEG or WebP files in base64.")]


class Pane(BaseModel):
    """One of the ways of a comparison."""

    model_config = ConfigDict(extra="forbid")

    generator: str = Field(description="Name of a generator.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its options, by name.")


class Tools:
    """The tools; each is a method whose docstring assistants read.

    Args:
        backend: where everything runs.
        runs: those of all doors.
        history: what visitors keep; None where nothing is.
        settings: the operator's.
    """

    def __init__(self, backend: Backend, runs: DoorRuns, history: History | None,
                 settings: Settings) -> None:
        self.backend, self.runs, self.settings = backend, runs, settings
        self._history, self._searcher = history, Searcher(backend)

    def all(self) -> list[tuple[Callable[..., Any], ToolAnnotations]]:
        """Functions and what they do to the world."""
        found: list[tuple[Callable[..., Any], ToolAnnotations]] = [
            (self.generators, READS), (self.generate, DRAWS), (self.compare, DRAWS),
            (self.rerank, READS), (self.classify, READS)]
        if self._history is not None:
            found += [(self.search, READS), (self.history, READS)]
        return found

    async def generators(self, ctx: Context) -> CallToolResult:
        """List the generators with what they are and their options."""
        return answer({"generators": [
            {"name": p.name, "title": p.title, "summary": p.summary, "sizes_px": list(p.sides_px),
             **p.accepts(),
             "options": p.Options.model_json_schema()["properties"]}
            for p in self.backend.registry]})

    async def generate(
        self, ctx: Context, prompt: Prompt,
        generator: Annotated[str | None, Field(
            description="Name of a generator; null for the first one.")] = None,
        num_images: Annotated[int, Field(ge=1, le=MAX_IMAGES, description="How many.")] = 1,
        seed: Seed = None,
        options: Annotated[dict[str, Any] | None, Field(
            description="The generator's options, by name; generators lists them.")] = None,
        init_image: InitImage = None, image_prompts: ImagePrompts = None, mask: Mask = None,
    ) -> CallToolResult:
        """Draw pictures of a prompt, the best match first."""
        with _saying():
            asker = _asker(ctx)
            pictures = await self._given(asker, init_image, image_prompts, mask)
            request = await in_turn(asker, any(pictures.values()), self.backend.registry.check, {
                "pipeline": generator or self.backend.registry.names()[0], "prompt": prompt,
                "num_images": num_images, "seed": seed, "options": options or {},
                **pictures})
            result = await self._run(ctx, asker, lambda run: self.backend.stream(
                request, run.next_job(), run.visitor))
        return await _shown(
            {"generator": request.pipeline, "options": request.options.model_dump(),
             "pictures": [_facts(c) for c in result.candidates]}, [result])

    async def compare(
        self, ctx: Context, prompt: Prompt,
        panes: Annotated[list[Pane], Field(min_length=2, max_length=4,
                                           description="Two to four ways to draw it.")],
        seed: Seed = None,
        seconds: Annotated[float | None, Field(
            description="Seconds of the device that each may take; null for no limit.")] = None,
        init_image: InitImage = None, image_prompts: ImagePrompts = None, mask: Mask = None,
    ) -> CallToolResult:
        """Draw one prompt in two to four ways at the same time, from the same seed."""
        with _saying():
            asker = _asker(ctx)
            pictures = await self._given(asker, init_image, image_prompts, mask)
            wanted = [{"pipeline": pane.generator, "num_images": 1, "options": pane.options}
                      for pane in panes]
            plan = await in_turn(asker, any(pictures.values()), plan_comparison,
                                 self.backend.registry, prompt, wanted, seed, seconds, pictures)
            ends: dict[int, Result | EaselError] = {}

            def start(run: Run) -> Generator[Event, None, None]:
                events: Generator[RunEvent, None, None] = self.backend.compare(
                    plan.requests, run.next_jobs(len(plan.requests)), plan.budget_s,
                    owner=run.visitor)
                with closing(events):
                    for each in events:
                        if isinstance(each.event, Progress):
                            yield each.event
                        elif isinstance(each.event, Result | EaselError):
                            ends.setdefault(each.index, each.event)

            await self._follow(ctx, asker, start)
            results = [ends.get(i) for i in range(len(plan.requests))]
            drawn = [each for each in results if isinstance(each, Result)]
            if not drawn:
                raise next((e for e in results if isinstance(e, EaselError)),
                           EaselError("Nothing was drawn."))
        return await _shown({"panes": [
            {"generator": request.pipeline, "options": request.options.model_dump(),
             **({"pictures": [_facts(c) for c in each.candidates]} if isinstance(each, Result)
                else {"error": str(each)})}
            for request, each in zip(plan.requests, results, strict=True)]}, drawn)

    async def rerank(
        self, ctx: Context,
        prompts: Annotated[list[str], Field(min_length=1, max_length=16, description=(
            'What the pictures should show; with a weight as in "a red apple:2".'))],
        images: Images = None,
        ids: Ids = None,
        against: Annotated[list[str] | None, Field(
            max_length=16, description="What they should not show.")] = None,
    ) -> CallToolResult:
        """Put pictures in order by how well CLIP says that they match prompts."""
        with _saying():
            asker = _asker(ctx)
            texts = read_prompts(prompts, against or [])
            names, pixels = await in_turn(asker, images or ids, self._pictures, asker,
                                          images or [], ids or [])
            ranking = await self.runs.call(asker, lambda run: rank_pictures(
                pixels, texts, [RANKER], partial(self._embed, run)))
        return answer({"order": [names[i] for i in ranking.order],
                        "scores": {names[i]: float(ranking.scores[i]) for i in ranking.order}})

    async def classify(
        self, ctx: Context,
        labels: Annotated[list[str], Field(min_length=2, description="Words or phrases.")],
        images: Images = None,
        ids: Ids = None,
        templates: Annotated[list[str] | None, Field(
            description='Sentences around a label, as "a picture of a {}".')] = None,
    ) -> CallToolResult:
        """Say which label fits each picture best, with the probability of every label."""
        with _saying():
            asker = _asker(ctx)
            wanted, around = check_labels(labels), check_templates(templates or [])
            names, pixels = await in_turn(asker, images or ids, self._pictures, asker,
                                          images or [], ids or [])
            found = await self.runs.call(asker, lambda run: self._embed(
                run, RANKER, pixels, class_texts(wanted, around)))
            classes = classify(found.images, class_features(found.texts, len(wanted)), wanted,
                               found.logit_scale)
        return answer({"pictures": [
            {"picture": name, "label": wanted[classes.ranking(row)[0]],
             "probabilities": {wanted[i]: float(classes.probabilities[row, i])
                               for i in classes.ranking(row)}}
            for row, name in enumerate(names)]})

    async def search(
        self, ctx: Context,
        text: Annotated[str, Field(min_length=1, description="What the pictures show.")],
        minus: Annotated[str, Field(description="What they should not be like.")] = "",
        limit: Annotated[int, Field(ge=1, le=MAX_LISTED, description="How many at most.")] = 8,
    ) -> CallToolResult:
        """Find pictures of your history by what they show."""
        with _saying():
            asker = _known(ctx)
            hits = await self.runs.call(asker, lambda run: self._search(
                run, asker, text, minus, limit))
        return answer({"hits": hits})

    async def history(
        self, ctx: Context,
        text: Annotated[str, Field(description="Words that the prompt holds.")] = "",
        generator: Annotated[str, Field(description="Name of a generator.")] = "",
        page: Annotated[int, Field(ge=1, description="Which page, the newest first.")] = 1,
        picture_id: Annotated[str | None, Field(
            description="Id of a picture to see itself, in place of the list.")] = None,
    ) -> CallToolResult:
        """List pictures of your history, the newest first, or see one of them."""
        with _saying():
            asker, kept = _known(ctx), self._kept()
            owner = kept.owner_of(asker.visitor)
            if picture_id is not None:
                picture = await _threaded(kept.get, owner, picture_id)
                data = await _threaded(kept.files.read, picture.sha256)
                return await _threaded(answer, picture.public(), [data])
            found = await _threaded(kept.page, owner, Filters(text, pipeline=generator), page,
                                    MAX_LISTED)
        return answer({"total": found.total, "page": found.number, "pages": found.pages,
                        "pictures": [{k: v for k, v in each.public().items() if k != "facts"}
                                     for each in found.pictures]})

    def _kept(self) -> History:
        if self._history is None:
            raise HistoryError("Nothing is kept here.")
        return self._history

    def _embed(self, run: Run, model_id: str, images: Sequence[np.ndarray],
               texts: Sequence[str]) -> Features:
        return self.backend.embed(model_id, images, texts, run.next_job())

    def _search(self, run: Run, asker: Asker, text: str, minus: str, limit: int,
                ) -> list[dict[str, Any]]:
        kept = self._kept()
        owner = kept.owner_of(asker.visitor)
        collection = history_collection(kept, owner, self.settings.data_dir)
        clip, direction = self._searcher.direction(RANKER, [(text, 1.0), (minus, -1.0)])
        updates = update_index(collection.folder, collection.files, self.backend, RANKER)
        with closing(updates):
            for _ in updates:
                if run.stopped:
                    raise Cancelled
        snapshot = self._searcher.snapshot(collection, clip)
        hits = search_in(snapshot, direction, limit)
        present = present_ids(kept, owner, [hit.item.key for hit in hits])
        return [{"id": hit.item.key, "similarity": float(hit.similarity)} for hit in hits
                if hit.item.key in present]

    def _picture(self, asker: Asker, given: str) -> bytes:
        """A file in base64, or that of a kept picture."""
        if len(given) == 32 and self._history is not None and asker.is_known:
            owner = self._history.owner_of(asker.visitor)
            return self._history.files.read(self._history.get(owner, given).sha256)
        try:
            return picture_bytes(given)
        except ValueError:
            raise InvalidRequest("The picture is not in base64.", field="images") from None

    async def _given(self, asker: Asker, init_image: str | None, image_prompts: list[str] | None,
                     mask: str | None) -> dict[str, Any]:
        """The fields of a request that hold pictures."""
        start, masked = [None if each is None else await _threaded(self._picture, asker, each)
                         for each in (init_image, mask)]
        prompts = [await _threaded(self._picture, asker, each) for each in image_prompts or []]
        return {"init_image": start, "image_prompts": prompts, "mask": masked}

    def _pictures(self, asker: Asker, images: Sequence[str], ids: Sequence[str],
                  ) -> tuple[list[str], list[np.ndarray]]:
        """Names and pixels: files by their numbers from 1 on, kept ones by their ids."""
        if ids and not asker.is_known:
            raise UnknownVisitor
        if not images and not ids:
            raise InvalidRequest("There are no pictures to look at.", field="images")
        names = [*(str(n) for n, _ in enumerate(images, 1)), *ids]
        return names, [load_small(self._picture(asker, each)) for each in (*images, *ids)]

    async def _run(self, ctx: Context, asker: Asker,
                   start: Callable[[Run], Generator[Event, None, None]]) -> Result:
        results = await self._follow(ctx, asker, start)
        if not results:
            raise EaselError("Nothing was drawn.")
        return results[-1]

    async def _follow(self, ctx: Context, asker: Asker,
                      start: Callable[[Run], Generator[Event, None, None]]) -> list[Result]:
        """Run to the end and tell how far it is; a client that goes away stops it."""
        results: list[Result] = []
        events = self.runs.follow(None, asker, start)
        async with aclosing(events):
            try:
                async for event in events:
                    if isinstance(event, Progress) and event.total:
                        await ctx.report_progress(event.step, event.total, event.message or None)
                    elif isinstance(event, Result):
                        results.append(event)
            except HistoryError:
                if not results:
                    raise
        return results


@contextmanager
def _saying() -> Iterator[None]:
    """Let every failure reach the assistant as one sentence."""
    try:
        yield
    except UnknownVisitor:
        raise ToolError(UNKNOWN) from None
    except EaselError as error:
        raise ToolError(str(error)) from None


def _asker(ctx: Context) -> Asker:
    request: Any = ctx.request_context.request
    return request.scope[ASKER]


def _known(ctx: Context) -> Asker:
    """Who asks, where that is proven.

    Raises:
        UnknownVisitor: it is not.
    """
    asker = _asker(ctx)
    if not asker.is_known:
        raise UnknownVisitor
    return asker


def _facts(candidate: Candidate) -> dict[str, Any]:
    equal = candidate.metadata.get("equal_to_seed")
    return {"id": candidate.metadata.get("picture_id"), "seed": candidate.seed,
            "scores": dict(candidate.scores),
            **({} if equal is None else {"equal_to_seed": equal})}


async def _shown(facts: dict[str, Any], results: Sequence[Result]) -> CallToolResult:
    """An answer with pictures, whose files take too long for the loop."""
    return await _threaded(lambda: answer(facts, [
        png_of(result, each) for result in results for each in result.candidates]))


async def _threaded(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(function, *args)
