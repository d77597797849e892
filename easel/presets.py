"""Named settings of generators: those that ship, one's own, and files of them.

A file is TOML, a table a generator and in it one a preset: ``[dalle.mine]`` with ``best_of`` and
``[dalle.mine.options]``. What comes from elsewhere is checked by the generator's options, as a
request is; what was kept is checked when it is used, so that one preset of a generator that has
gone, or of an option that has changed, takes no other with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from easel.history.records import LOCAL
from easel.own_files import OwnFile, changing, read_toml, visitors_file
from easel.serving.best_of import MAX_DRAWN
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.options import parse_options
from pipelines.pipeline import Pipeline, Preset
from pipelines.registry import Registry

FILE, FOLDER = "presets.toml", "presets"  # in the data folder: the command line's, the visitors'
MAX_PRESETS = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
Presets = dict[str, dict[str, Preset]]  # by generator and name


def store_for(data_dir: Path, owner: str, registry: Registry) -> PresetStore:
    """The presets of somebody.

    Args:
        data_dir: the data folder.
        owner: a visitor's name, of hex digits, or ``easel.history.records.LOCAL``.
        registry: the generators.
    """
    if owner == LOCAL:
        return PresetStore(OwnFile(data_dir / FILE), registry)
    return PresetStore(visitors_file(data_dir / FOLDER, owner), registry)


class PresetStore:
    """One's own presets in a file, beside those that ship.

    Args:
        file: where they are.
        registry: the generators, which check what is kept.
    """

    def __init__(self, file: OwnFile, registry: Registry) -> None:
        self.file, self.registry = file, registry

    def own(self) -> Presets:
        """What was saved, as it was; ``find`` checks it.

        Raises:
            InvalidRequest: the file is damaged.
        """
        try:
            return read_presets(self.file.read())
        except OSError as error:
            raise EaselError("The presets in {} cannot be read: {}.", self.file.path.name,
                             reason(error)) from None

    def all(self) -> Presets:
        """Those that ship and one's own, which go before ones of the same name."""
        own = self.own()
        return {p.name: {**p.presets, **own.get(p.name, {})} for p in self.registry}

    def find(self, pipeline: str, name: str) -> Preset:
        """A preset of a generator.

        Raises:
            InvalidRequest: there is none of that name, or the generator does not take it any more.
        """
        own = self.own().get(pipeline, {})
        if name in own:
            return _checked(self.registry.get(pipeline), name, own[name].options,
                            own[name].best_of)
        known = {**self.registry.get(pipeline).presets, **own}
        if name not in known:
            raise InvalidRequest("{} has no preset called {!r}; there are: {}.",
                                 self.registry.get(pipeline).title, name[:40],
                                 ", ".join(known) or "none", field="preset")
        return known[name]

    def save(self, name: str, presets: Mapping[str, Preset]) -> dict[str, Preset]:
        """Keep a preset of one generator or of several, all or none, in place of one's own of that
        name.

        Args:
            name: of all of them.
            presets: by generator.

        Returns:
            They as they were checked.

        Raises:
            InvalidRequest: a name or an option is not valid, options do not go together, or there
                are too many.
        """
        new = {pipeline: _checked(self.registry.get(pipeline), name, preset.options, preset.best_of)
               for pipeline, preset in presets.items()}
        with changing:
            found = self.own()
            self._write({**found, **{pipeline: {**found.get(pipeline, {}), name: preset}
                                     for pipeline, preset in new.items()}})
        return new

    def delete(self, pipeline: str, name: str) -> None:
        """Forget one's own preset.

        Raises:
            InvalidRequest: there is none of that name.
        """
        with changing:
            found = self.own()
            if name not in found.get(pipeline, {}):
                raise InvalidRequest("There is no preset of yours called {!r}.", name[:40],
                                     field="preset")
            del found[pipeline][name]
            self._write(found)

    def add(self, data: bytes) -> Presets:
        """Keep the presets of a file; returns them.

        Raises:
            InvalidRequest: it is no file of presets; nothing is kept then.
        """
        new = read_presets(data, self.registry)
        with changing:
            found = self.own()
            self._write({name: {**found.get(name, {}), **new.get(name, {})}
                         for name in {**found, **new}})
        return new

    def _write(self, presets: Presets) -> None:
        if sum(map(len, presets.values())) > MAX_PRESETS:
            raise InvalidRequest("{} presets are the most: delete some first.", MAX_PRESETS,
                                 field="preset")
        try:
            self.file.write(write_presets(presets).encode())
        except OSError as error:
            raise EaselError("The presets in {} could not be written: {}.", self.file.path.name,
                             reason(error)) from None


def read_presets(data: bytes, registry: Registry | None = None) -> Presets:
    """The presets of a file.

    Args:
        data: from anyone.
        registry: the generators that check it; None where only its form is looked at.

    Raises:
        InvalidRequest: one sentence about its first fault.
    """
    found: Presets = {}
    for pipeline, presets in read_toml(data, "preset").items():
        known = None if registry is None else registry.get(pipeline)
        for name, table in _table(presets):
            facts = dict(_table(table))
            options, best_of = facts.pop("options", {}), facts.pop("best_of", 0)
            if facts:
                raise InvalidRequest("A preset has options and best_of, and no {!r}.",
                                     next(iter(facts))[:40], field="preset")
            values = dict(_table(options))
            found.setdefault(pipeline, {})[name] = (
                _formed(name, values, best_of) if known is None
                else _checked(known, name, values, best_of))
    return found


def write_presets(presets: Mapping[str, Mapping[str, Preset]]) -> str:
    """Presets as TOML, which ``read_presets`` reads."""
    parts = []
    for pipeline, named in presets.items():
        for name, preset in named.items():
            lines = [f"[{pipeline}.{name}]"]
            lines += [f"best_of = {preset.best_of}"] if preset.best_of else []
            if preset.options:
                lines += ["", f"[{pipeline}.{name}.options]"]
                # What JSON writes of texts, numbers, true and false is TOML too, but for one sign.
                lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}"
                          .replace("\x7f", "\\u007f")
                          for key, value in preset.options.items()]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n" if parts else ""


def _table(value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise InvalidRequest("The file of presets has a value where a table should be.",
                             field="preset")
    return iter(value.items())


def _formed(name: str, options: Mapping[str, Any], best_of: Any) -> Preset:
    """A preset whose name and values a file can hold, whatever the options are."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A preset's name has 1 to 40 lower-case letters, digits, - and _, "
                             "not {!r}.", name[:40], field="preset")
    if isinstance(best_of, bool) or not isinstance(best_of, int) or not 0 <= best_of <= MAX_DRAWN:
        raise InvalidRequest("The pictures to choose from must be a whole number between {} and "
                             "{}.", 0, MAX_DRAWN, field="best_of")
    if not all(isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
               for value in options.values()):
        raise InvalidRequest("The file of presets has a table where a value should be.",
                             field="preset")
    return Preset(dict(options), best_of)


def _checked(pipeline: Pipeline, name: str, options: Mapping[str, Any], best_of: Any) -> Preset:
    """A preset whose options are those of the generator, as the generator writes them.

    Raises:
        InvalidRequest: a run with them would be refused, whatever its prompt and pictures.
    """
    parsed = parse_options(pipeline.Options, options)
    pipeline.check_options(pipeline.resolve_options(parsed))
    values = parsed.model_dump()
    # What is left to the generator, "auto", is None, which TOML has not.
    return _formed(name, {key: values[key] for key in options if values[key] is not None}, best_of)
