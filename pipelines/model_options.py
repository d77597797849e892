"""Options that choose a model: one choice for every entry of a family in the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, create_model
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from pipelines.core.amounts import megabytes
from pipelines.core.options import AUTO, Options
from pipelines.core.sentences import Sentence
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import UNSTATED, CatalogueEntry, licence_words
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.loading import is_complete

FAMILY, LABELS = "family", "labels"  # keys of json_schema_extra
OFF = "off"  # a default that is no model: the run does without
T = TypeVar("T", bound=Options)


def model_field(default: str, family: str, title: str, description: str,
                advanced: bool = False) -> Any:
    """An option whose value is the id of a model.

    Args:
        default: id of the model that is used where none is chosen, ``AUTO`` or ``OFF``.
        family: the catalogue's word for models that fit.
        title: of the control.
        description: of the control.
        advanced: fold the control away.
    """
    extra: JsonDict = {FAMILY: family}
    if advanced:
        extra["advanced"] = True
    return Field(default=default, max_length=200, title=title, description=description,
                 json_schema_extra=extra)


def auto_ranker_field() -> Any:
    """The option of a generator whose ranker nobody need choose."""
    return model_field(
        AUTO, "clip", "Ranker", "The CLIP that puts finished pictures in order; auto is the best "
        "one here that did not guide.", advanced=True)


def precision_field() -> Any:
    """The option of a generator whose models compute in one of two number formats."""
    return Field(
        default="auto", title="Precision", json_schema_extra={"advanced": True},
        description="Number format of the computation; auto is the faster one of this machine.")


def chosen_models(options: Options, models: Iterable[str]) -> tuple[str, ...]:
    """Ids of models with those in their places that options made by ``model_field`` choose.

    Args:
        options: of a request.
        models: the ids by default, the ranker last; an option whose default is one of them stands
            for it, and one whose default is ``AUTO`` for the ranker.
    """
    models = tuple(models)
    chosen = {models[-1] if info.default == AUTO else info.default: str(getattr(options, name))
              for name, info in type(options).model_fields.items()
              if isinstance(extra := info.json_schema_extra, dict) and FAMILY in extra}
    return tuple(chosen.get(model, model) for model in models)


def choices(catalogue: Catalogue, family: str) -> tuple[CatalogueEntry, ...]:
    """The models of a family, in the order of the catalogue."""
    return tuple(entry for entry in catalogue if entry.family == family)


def choice_label(entry: CatalogueEntry) -> str:
    """A model as a list of choices shows it, with size and licence where it is not Easel's own."""
    if entry.id.startswith(EMBEDDED):
        return Sentence("{} (embedded)", entry.title)
    licence = licence_words(entry.licence)
    facts = [megabytes(entry.download_bytes)] if entry.download_bytes else []
    if entry.licence == UNSTATED:
        template = "{} ({}, licence not stated)" if facts else "{} (licence not stated)"
        return Sentence(template, entry.title, *facts)
    return f"{entry.title} ({', '.join([*facts, licence])})"


def with_choices(options: type[T], catalogue: Catalogue) -> type[T]:
    """The options with their models narrowed to those of a catalogue.

    Args:
        options: a pipeline's options, some of them made by ``model_field``.
        catalogue: what there is to choose from.
    """
    fields: dict[str, Any] = {}
    for name, info in options.model_fields.items():
        extra = info.json_schema_extra
        family = extra.get(FAMILY) if isinstance(extra, dict) else None
        found = choices(catalogue, str(family)) if family else ()
        if not found:
            continue
        first = (info.default,) if info.default in (AUTO, OFF) else ()
        ids = (*first, *(entry.id for entry in found))
        labels: JsonDict = {LABELS: [*first, *(choice_label(entry) for entry in found)]}
        fields[name] = (Literal[ids], _narrowed(info, {**cast(JsonDict, extra), **labels}))
    if not fields:
        return options
    return create_model(options.__name__, __base__=options, __doc__=options.__doc__,
                        __module__=options.__module__, **fields)


def _narrowed(info: FieldInfo, extra: JsonDict) -> Any:
    return Field(default=info.default, title=info.title, description=info.description,
                 json_schema_extra=extra)


def is_ready(options: type[Options], models: Iterable[str], catalogue: Catalogue) -> bool:
    """Whether a pipeline could run with files that are on this machine.

    Easel's own models count as here: should their files be missing, a run says so.

    Args:
        options: the pipeline's, some of them made by ``model_field``.
        models: ids that it leases by default; what no option chooses must be there itself.
        catalogue: knows the files.
    """
    families = {str(extra[FAMILY]) for info in options.model_fields.values()
                if isinstance(extra := info.json_schema_extra, dict) and FAMILY in extra}
    known = {entry.id: entry for entry in catalogue}
    if not known.keys() >= set(models):
        return False
    fixed = [known[model] for model in models if known[model].family not in families]
    chosen = [choices(catalogue, family) for family in families]
    return all(any(entry.id.startswith(EMBEDDED) or is_complete(catalogue, entry)
                   for entry in offered)
               for offered in [*chosen, *((entry,) for entry in fixed)])
