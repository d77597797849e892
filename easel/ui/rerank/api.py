"""The endpoint /rerank: pictures, several prompts for and against, one or more CLIPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from easel.compare.ranking import MAX_PROMPTS, rank_pictures, read_prompts
from easel.guard.visitors import visitor_of
from easel.ui.parts.endpoints import OBJECT, STRINGS, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_many
from easel.ui.playground import Playground
from easel.ui.rerank.sources import (
    MAX_FILES,
    SourceFile,
    check_clips,
    chosen_files,
    installed_clips,
    uploaded_files,
)
from easel.words import strings
from pipelines.core.errors import InvalidRequest


def add_rerank_endpoint(playground: Playground, clips: Mapping[str, str] | None = None) -> None:
    """Add /rerank to the page under construction.

    Args:
        playground: whose backend ranks.
        clips: titles of the CLIPs on offer by id; those that are installed where None.
    """
    def here() -> dict[str, str]:
        return installed_clips(playground.models.catalogue if playground.models else None)

    known = dict(clips or here())

    @one_sentence
    def rerank(request: gr.Request, images: list[str] | None = None, prompts: Any = None,
               against: Any = None, clips: Any = None, keep: Any = 0, ids: Any = None,
               ) -> tuple[list[str], dict[str, Any]]:
        for value in (prompts, against, clips, ids):
            if value is not None and not isinstance(value, list):
                raise InvalidRequest("Prompts, CLIPs and ids must be lists of texts.",
                                     field="prompt")
        if isinstance(keep, bool) or not isinstance(keep, int) or not 0 <= keep <= MAX_FILES:
            raise InvalidRequest("Keep must be a whole number between 0 and {}.", MAX_FILES,
                                 field="keep")
        weighted = read_prompts(prompts or [], against or [])
        offered = known | here()
        judges = check_clips(clips or list(offered)[:1], offered)
        sources: list[SourceFile] = []
        if ids:
            sources += chosen_files(playground.history, visitor_of(request), ids)
        if images or not sources:
            sources += uploaded_files(images or [])
        if len(sources) > MAX_FILES:
            raise InvalidRequest("{} pictures are too many: {} is the most.", len(sources),
                                 MAX_FILES, field="images")
        ranking = rank_pictures(read_many(source.path for source in sources), weighted, judges,
                                playground.backend.embed)
        kept = list(ranking.order[:keep or None])
        files = [ranked.move_resource_to_block_cache(sources[index].path) for index in kept]
        return [str(file) for file in files if file], {
            "pictures": [source.name for source in sources], "kept": kept, **ranking.to_json()}

    add_endpoint(rerank, [
        gr.File(visible=False, file_count="multiple", file_types=IMAGE_SUFFIXES, type="filepath",
                label=f"Pictures to put in order, up to {MAX_FILES} (PNG, JPEG or WebP), or null"),
        json_value([strings.FIRST_PROMPT], {**STRINGS, "maxItems": MAX_PROMPTS},
                   'What they should show, perhaps with weights, as in "a red apple:2"'),
        json_value(None, {**STRINGS, "maxItems": MAX_PROMPTS}, "What they should not show"),
        json_value(None, {"type": "array", "items": {"enum": list(known)}},
                   "Ids of CLIPs, whose scores are averaged; null for the ranker"),
        json_value(0, {"type": "integer", "minimum": 0, "maximum": MAX_FILES},
                   "How many of the best to give back; 0 for all"),
        json_value(None, {**STRINGS, "maxItems": MAX_FILES},
                   "Ids of kept pictures to put in order, before the uploaded ones, or null"),
    ], [
        ranked := gr.File(visible=False, file_count="multiple",
                          label="The best pictures' files, best first"),
        json_value({}, OBJECT, "Order and scores of the pictures; for each CLIP its scores, and "
                   "its similarities of every picture with every prompt"),
    ], "Rank pictures by one or more CLIPs against several prompts, for and against.")
