"""Named endpoints of the history: each acts on the pictures of who calls, and on no others.

A program is one visitor for as long as its session lasts, or for ever with the token that
``/history_token`` gives it, sent as the header ``x-easel-visitor``.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from easel.guard.cache_room import take_room
from easel.guard.made_of import note
from easel.guard.turns import reading
from easel.guard.visitors import HEADER, new_token, visitor_of
from easel.history.export import pictures_of, write_zip, zip_name
from easel.history.recall import recall as recall_file
from easel.history.records import MAX_PAGE_SIZE, PAGE_SIZE, HistoryError
from easel.history.store import History
from easel.ui.history.filters import build_filters
from easel.ui.parts.endpoints import OBJECT, STRING, STRINGS, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.words import strings
from pipelines.core.errors import InvalidRequest, reason

MAX_IDS = 500


def add_history_endpoints(history: History) -> None:
    """Add the endpoints to the page under construction. None of them shows on it."""
    _add_look_ups(history)
    _add_export(history)
    _add_changes(history)
    _add_recall()


def _owner(history: History, request: gr.Request) -> str:
    return history.owner_of(visitor_of(request))


def _ids(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidRequest("Ids must be a list of texts.", field="ids")
    if not 1 <= len(value) <= MAX_IDS:
        raise InvalidRequest("Give 1 to {} ids.", MAX_IDS, field="ids")
    return value


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidRequest("{} must be a whole number between {} and {}.", name, least, most,
                             field=name.lower())
    return value


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest("{} must be true or false, not {}.", name, repr(value)[:40],
                             field=name.lower())
    return value


def _add_look_ups(history: History) -> None:
    @one_sentence
    def history_list(request: gr.Request, filters: Any = None, page: int = 1,
                     size: int = PAGE_SIZE) -> dict[str, Any]:
        found = history.page(_owner(history, request), build_filters(filters or {}),
                             _whole(page, "Page", 1, 10**9),
                             _whole(size, "Size", 1, MAX_PAGE_SIZE))
        return {"page": found.number, "pages": found.pages, "total": found.total,
                "pictures": [picture.public() for picture in found.pictures]}

    @one_sentence
    def history_show(request: gr.Request, id: str) -> tuple[str | None, dict[str, Any]]:
        picture = history.get(_owner(history, request), str(id))
        family = history.family(picture.owner, picture.id)
        fault = {}
        try:
            cached = shown.move_resource_to_block_cache(history.files.local(picture.sha256))
        except OSError:  # no room for a copy, which what is known of it does not need
            cached, fault = None, {"file_fault": strings.DISK_FULL}
        return cached, {**picture.public(), **fault,
                        "ancestors": [each.id for each in family.ancestors],
                        "descendants": [each.id for each in family.descendants]}

    @one_sentence
    def history_token() -> str:
        return new_token()

    add_endpoint(history_list, [
        json_value(None, OBJECT, "Filters by name, or null: text, since_s, until_s (Unix seconds), "
            "pipeline, model, min_rating, favourite, deleted"),
        json_value(1, {"type": "integer", "minimum": 1}, "Which page"),
        json_value(PAGE_SIZE, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
            "Pictures on a page"),
    ], [json_value({}, OBJECT, "Pictures of this page, the newest first, and how many there are")],
        "List kept pictures.", queue=False)
    shown = gr.File(visible=False, label="The PNG file, with its metadata; null, and why as "
                                         "file_fault, where the disk has no room for a copy")
    add_endpoint(history_show, [json_value("", STRING, "Id of a picture")],
                 [shown, json_value({}, OBJECT, "All that is known of it, with the ids of its "
                                    "ancestors and descendants")],
                 "Show a kept picture.", queue=False)
    add_endpoint(history_token, [], [json_value("", STRING, "The token")],
                 f"A token that makes a program one visitor for ever, as the header {HEADER}.",
                 queue=False)


def _add_export(history: History) -> None:
    @one_sentence
    def history_export(request: gr.Request, ids: Any = None, filters: Any = None) -> str:
        owner = _owner(history, request)
        pictures = ([history.get(owner, each) for each in _ids(ids)] if ids is not None
                    else list(pictures_of(history, owner, build_filters(filters or {}))))
        if not pictures:
            raise HistoryError("There are no such pictures, so there is nothing to export.")
        # As with pictures: who has the address may fetch it, and nobody guesses it.
        take_room(zip_file.GRADIO_CACHE, sum(picture.size_bytes for picture in pictures))
        path = Path(zip_file.GRADIO_CACHE) / "exports" / secrets.token_urlsafe(16) / zip_name()
        try:
            note(path, (picture.sha256 for picture in pictures))
        except OSError as error:
            raise HistoryError("The export {} could not be written: {}.", path.name,
                               reason(error)) from error
        with reading.turn():
            write_zip(history.files, pictures, path)
        zip_file.move_resource_to_block_cache(path)
        return str(path)

    zip_file = gr.File(visible=False, label="Zip with the pictures and history.json")
    add_endpoint(history_export, [
        json_value(None, {"type": "array", "items": STRING}, "Ids, or null for all that pass"),
        json_value(None, OBJECT, "Filters as for /history_list, or null"),
    ], [zip_file], "Export kept pictures as a zip.", queue=True)


def _add_changes(history: History) -> None:
    @one_sentence
    def history_delete(request: gr.Request, ids: Any, forever: bool = False) -> int:
        owner, chosen, for_good = _owner(history, request), _ids(ids), _flag(forever, "Forever")
        moved = history.delete(owner, chosen)
        return history.purge(owner, chosen) if for_good else moved

    @one_sentence
    def history_restore(request: gr.Request, ids: Any) -> int:
        return history.restore(_owner(history, request), _ids(ids))

    @one_sentence
    def history_rate(request: gr.Request, id: str, rating: int | None = None,
                     favourite: bool | None = None) -> dict[str, Any]:
        owner = _owner(history, request)
        mark = None if favourite is None else _flag(favourite, "Favourite")
        picture = history.get(owner, str(id))
        if rating is not None:
            picture = history.rate(owner, str(id), rating or None)
        if mark is not None:
            picture = history.set_favourite(owner, str(id), mark)
        return picture.public()

    ids = {**STRINGS, "minItems": 1, "maxItems": MAX_IDS}
    count, flag = {"type": "integer"}, {"type": "boolean"}
    add_endpoint(history_delete, [json_value([], ids, "Ids of pictures"),
                                  json_value(False, flag, "Whether beyond restoring")],
                 [json_value(0, count, "How many were deleted")],
                 "Delete kept pictures; they can be restored for 30 days.", queue=False)
    add_endpoint(history_restore, [json_value([], ids, "Ids of pictures")],
                 [json_value(0, count, "How many came back")], "Restore deleted pictures.",
                 queue=False)
    add_endpoint(history_rate, [
        json_value("", STRING, "Id of a picture"),
        json_value(None, {"type": "integer", "minimum": 0, "maximum": 5},
            "1 to 5 stars, 0 for none, or null for as before"),
        json_value(None, flag, "Whether it is a favourite, or null for as before"),
    ], [json_value({}, OBJECT, "The picture as it is now")], "Rate a kept picture.", queue=False)


def _add_recall() -> None:
    @one_sentence
    def picture_settings(picture: str | None) -> dict[str, Any]:
        if not picture:
            raise InvalidRequest("There is no picture to read.", field="picture")
        found = recall_file(read_upload(picture))
        return {"tool": found.tool, "prompt": found.prompt,
                "negative_prompt": found.negative_prompt, "seed": found.seed,
                "pipeline": found.pipeline or None, "num_images": found.num_images,
                "options": dict(found.options), "other": dict(found.other)}

    add_endpoint(picture_settings, [
        gr.File(visible=False, file_types=IMAGE_SUFFIXES, type="filepath",
                   label="Picture that Easel, A1111, InvokeAI or ComfyUI made (PNG, JPEG or WebP)"),
    ], [json_value({}, OBJECT, "Its settings by Easel's names; what has none under other")],
        "Read how a picture was made out of its file.")
