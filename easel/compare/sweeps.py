"""Sweeps: prompts with alternatives and wildcards, and grids over any two options.

``a {red|blue} car`` stands for two prompts, and several braces for every combination (the prompt
matrix of AUTOMATIC1111's web UI, with braces in place of bars, which weights need). ``__animal__``
stands for a word drawn anew for each seed (the wildcards of Fooocus).
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from easel.compare.plan import share_pictures
from pipelines.core.articles import is_english, with_article
from pipelines.core.errors import InvalidRequest
from pipelines.core.options import OptionField, option_fields, written_number
from pipelines.core.request import MAX_IMAGES, PICTURES, CheckedRequest, candidate_seed
from pipelines.pipeline import Pipeline
from pipelines.registry import Registry

MAX_CELLS, MAX_VALUES, MAX_PROMPTS = 36, 12, 36
SEED, PROMPT, PIPELINE = "seed", "prompt", "pipeline"
SWITCHES = {**dict.fromkeys(("true", "yes", "on", "sim"), True),
            **dict.fromkeys(("false", "no", "off", "não", "nao"), False)}
_BRACES = re.compile(r"\{([^{}]*)\}")
WILDCARD = re.compile(r"__([a-z][a-z0-9-]*)__")
_DOTS = re.compile(r"\.{3,}|…")
MAX_AXIS_CHARS, MAX_TEMPLATE_CHARS = 2000, 5000


@dataclass(frozen=True)
class Axis:
    """One side of a grid.

    Attributes:
        name: an option of the pipeline, or "seed", "prompt", "pipeline"; empty for no axis.
        values: what it takes in turn; one nothing where there is no axis.
        title: what people call it; the name where empty.
    """

    name: str = ""
    values: tuple[Any, ...] = (None,)
    title: str = ""

    def labels(self) -> list[str]:
        """What the grid writes beside its rows or above its columns."""
        if not self.name:
            return [""]
        if self.name in (PROMPT, PIPELINE):
            return [str(value) for value in self.values]
        name = self.title or self.name.replace("_", " ")
        return [f"{name} {_written(value)}" for value in self.values]


@dataclass(frozen=True)
class Sweep:
    """The requests of a grid, row by row.

    Attributes:
        x: columns.
        y: rows.
        requests: one a cell.
    """

    x: Axis
    y: Axis
    requests: tuple[CheckedRequest[Any], ...]

    def cell(self, row: int, column: int) -> CheckedRequest[Any]:
        """The request of a cell."""
        return self.requests[row * len(self.x.values) + column]


def is_template(prompt: str) -> bool:
    """Whether a prompt has a wildcard or alternatives in braces, which a grid alone fills in."""
    return WILDCARD.search(prompt) is not None or any(
        "|" in part for part in _BRACES.findall(prompt))


def expand_matrix(prompt: str) -> list[str]:
    """Every prompt that one with alternatives in braces stands for, in order.

    Raises:
        InvalidRequest: a brace is not closed, or they stand for too many prompts, or the text is
            longer than ``MAX_TEMPLATE_CHARS``.
    """
    if len(prompt) > MAX_TEMPLATE_CHARS:
        raise InvalidRequest("The prompt has {:,} characters; {:,} is the most.", len(prompt),
                             MAX_TEMPLATE_CHARS, field=PROMPT)
    parts = [part.split("|") for part in _BRACES.findall(prompt)]
    if any(brace in _BRACES.sub("", prompt) for brace in "{}"):
        raise InvalidRequest("A brace of the prompt is not closed, or stands inside another: "
                             "write {red|blue}.", field=PROMPT)
    count = 1
    for part in parts:
        count *= len(part)
    if count > MAX_PROMPTS:
        raise InvalidRequest("The prompt stands for {:,} prompts; {} is the most.", count,
                             MAX_PROMPTS, field=PROMPT)
    found = []
    for chosen in itertools.product(*parts):
        words = iter(chosen)
        found.append(_filled(prompt, _BRACES, lambda _, words=words: next(words).strip()))
    return list(dict.fromkeys(found))


def fill_wildcards(prompt: str, words: Mapping[str, Sequence[str]], seed: int) -> str:
    """A prompt with a word for each wildcard; the same seed gives the same words.

    Args:
        prompt: perhaps with ``__animal__`` and the like.
        words: what each wildcard may become.
        seed: of the drawing.

    Raises:
        InvalidRequest: a wildcard that is not known.
    """
    draw = random.Random(seed)

    def word(match: re.Match[str]) -> str:
        if match[1] not in words:
            known = ", ".join(f"__{name}__" for name in sorted(words)) or "none"
            raise InvalidRequest("There is no wildcard called {}; there are: {}.", match[0], known,
                                 field=PROMPT)
        return draw.choice(words[match[1]])

    return _filled(prompt, WILDCARD, word)


def _filled(prompt: str, place: re.Pattern[str], word: Callable[[re.Match[str]], str]) -> str:
    """A prompt with words in some places, and else as it was typed.

    The article before a word is settled; where nothing is put in, its blank goes too.
    """
    text, end = "", 0
    english = is_english(place.sub(" ", prompt))
    for match in place.finditer(prompt):
        before, put = text + prompt[end:match.start()], word(match)
        end = match.end()
        if not put and (not before or before[-1:].isspace()) and prompt[end:end + 1].isspace():
            end += 1
        if english and is_english(put):
            before = with_article(before, put or prompt[end:])
        text = before + put
    return text + prompt[end:] if end else prompt


def sweep_options(pipeline: Pipeline) -> dict[str, str]:
    """What an axis may be, by name with its title: seed, prompt, generator, any option."""
    return {SEED: "Seed", PROMPT: "Prompt (its {a|b})", PIPELINE: "Generator",
            **{option.name: option.title for option in option_fields(pipeline.Options)}}


def parse_axis(name: str, text: str, pipeline: Pipeline, prompt: str) -> Axis:
    """An axis from what people type.

    Args:
        name: one of ``sweep_options``; empty for no axis.
        text: values with commas between them, or semicolons where commas are decimal ones, or
            ``first..last`` or ``first..last/count``; not read for "prompt", whose values are the
            prompt's own alternatives.
        pipeline: whose options may be swept.
        prompt: with its braces.

    Raises:
        InvalidRequest: in one sentence, what is wrong.
    """
    if not name:
        return Axis()
    if name == PROMPT:
        values: list[Any] = list(expand_matrix(prompt))
    else:
        kinds = {option.name: option for option in option_fields(pipeline.Options)}
        if name not in (SEED, PIPELINE) and name not in kinds:
            raise InvalidRequest("{} has no option called {!r} to sweep.", pipeline.title,
                                 name[:40], field="axis")
        values = _values(name, text, kinds.get(name))
    if not values:
        raise InvalidRequest("The axis {} has no values: write them with commas, or 1..5.", name,
                             field="axis")
    if len(values) > MAX_VALUES and name != PROMPT:
        raise InvalidRequest("The axis {} has more than {} values, which is the most.", name,
                             MAX_VALUES, field="axis")
    return Axis(name, tuple(values), sweep_options(pipeline)[name])


def proposed_values(name: str, pipeline: Pipeline, generators: Sequence[str]) -> str:
    """Values of an axis to begin with, as ``parse_axis`` reads them; empty where it reads none.

    Args:
        name: one of ``sweep_options``.
        pipeline: whose option it is.
        generators: names of all pipelines.
    """
    if name == SEED:
        return "1..4"
    if name == PIPELINE:
        return ", ".join(generators[:4])
    option = next((o for o in option_fields(pipeline.Options) if o.name == name), None)
    if option is None or option.kind == "text":
        return ""
    if option.kind == "bool":
        return "on, off"
    if option.kind == "choice":
        return ", ".join(map(str, option.choices[:4]))
    low, high = option.minimum, option.maximum
    usual = getattr(pipeline.resolve_options(pipeline.Options()), name)
    if not usual:
        return "" if low is None or high is None else f"{_written(low)}..{_written(high)}/3"
    around = [usual * factor for factor in (0.5, 1, 2)]
    kept = [min(max(value, value if low is None else low), value if high is None else high)
            for value in around]
    if option.kind == "int":
        kept = [round(value) for value in kept]
    return ", ".join(dict.fromkeys(_written(round(value, 6)) for value in kept))


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return written_number(value) if isinstance(value, float) else str(value)


def _values(name: str, text: str, option: OptionField | None) -> list[Any]:
    whole = name == SEED or (option is not None and option.kind == "int")
    if len(text) > MAX_AXIS_CHARS:
        raise InvalidRequest("The values of the axis {} have {:,} characters; {:,} is the most.",
                             name, len(text), MAX_AXIS_CHARS, field="axis")
    text = _DOTS.sub("..", text)
    step = int(option.step) if whole and option is not None and option.step else 1
    if ".." in text and (whole or (option is not None and option.kind == "float")) \
            and (spread := _spread(text, whole, step)) is not None:
        return spread
    found: list[Any] = []
    # Where values stand between semicolons, a comma is that of a decimal: "0,5; 0,7".
    number = whole or (option is not None and option.kind == "float")
    parts = text.replace(",", "." if number else ",").split(";") if ";" in text \
        else text.split(",")
    for part in (part.strip() for part in parts):
        if not part:
            continue
        if option is not None and option.kind == "bool":
            found.append(SWITCHES.get(part.lower(), part))
        elif option is not None and option.kind == "choice":
            found.append(next((c for c in option.choices if str(c) == part), part))
        else:
            found.append(_number(part, whole) if whole or (
                option is not None and option.kind == "float") else part)
    return list(dict.fromkeys(found))


def _number(text: str, whole: bool) -> Any:
    """A number where it is one; anything else is refused by the option itself, by its name."""
    try:
        number = int(text) if whole else float(text)
        return number if math.isfinite(number) else text
    except (ValueError, OverflowError):  # a whole number may be larger than any float
        return text


def _spread(text: str, whole: bool, step: int) -> list[Any] | None:
    """The values of ``first..last`` or ``first..last/count``; None where a text is neither.

    Whole numbers without a count go by steps; with one, those between the ends are whole steps.
    """
    begin, _, rest = text.partition("..")
    end, slash, number = rest.rpartition("/")
    if not slash or not number.strip().isdecimal():
        end, number = rest, ""
    parts = [begin.strip(), end.strip()]
    if any(part.split() != [part] for part in parts):
        return None
    first, last = (_number(part, False) for part in parts)
    if not isinstance(first, float) or not isinstance(last, float) \
            or not abs(first) + abs(last) < 1e12:
        return [text]
    # A number of more digits is larger than any that is allowed, and int() does not read it.
    if step > 1 and not number:  # a last one that no step meets is not reached
        last = first + math.copysign(abs(last - first) // step * step, last - first)
    steps = int(abs(last - first)) // step + 1 if whole else 5
    count = min(int(number.strip()[:9]) if number else steps, MAX_VALUES + 1)
    found = [first + (last - first) * i / max(1, count - 1) for i in range(count)]
    if not whole:
        return list(dict.fromkeys(round(value, 6) for value in found))
    ends = (0, count - 1)  # as they were typed: one that is no step is refused by its option
    return list(dict.fromkeys(
        round(value / step) * step if number and i not in ends else round(value)
        for i, value in enumerate(found)))


def plan_sweep(registry: Registry, base: Mapping[str, Any], x: Axis, y: Axis,
               words: Mapping[str, Sequence[str]]) -> Sweep:
    """Every cell of a grid as a valid request.

    A cell's prompt has its wildcards filled by the cell's seed, so that a column of seeds is also
    one of words.

    Args:
        registry: the pipelines.
        base: fields of a request with a seed; its prompt may have wildcards, and alternatives
            where an axis is "prompt". Its pictures are for every cell whose pipeline takes them.
        x: columns.
        y: rows, over something else.
        words: what wildcards may become.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    if x.name and x.name == y.name:
        raise InvalidRequest("Both axes are the same: choose two different ones.", field="axis")
    count = len(x.values) * len(y.values)
    if count > MAX_CELLS:
        raise InvalidRequest("The grid has {} cells; {} is the most.", count, MAX_CELLS,
                             field="axis")
    cells = []
    plain = {name: value for name, value in base.items() if name not in PICTURES}
    for row in y.values:
        for column in x.values:
            fields = {**plain, "num_images": 1, "options": dict(base.get("options") or {})}
            for axis, value in ((y, row), (x, column)):
                if axis.name in (SEED, PROMPT, PIPELINE):
                    fields[axis.name] = value
                elif axis.name:
                    fields["options"][axis.name] = value
            _keep_known(registry, fields)
            fields["prompt"] = fill_wildcards(str(fields["prompt"]), words, _seed(fields))
            cells.append(fields)
    shared = share_pictures([registry.get(str(fields["pipeline"])) for fields in cells], base)
    return Sweep(x, y, tuple(registry.check({**fields, **pictures})
                             for fields, pictures in zip(cells, shared, strict=True)))


def _seed(fields: Mapping[str, Any]) -> int:
    seed = fields.get("seed")
    return seed if isinstance(seed, int) else 0


def _keep_known(registry: Registry, fields: dict[str, Any]) -> None:
    """Another generator takes those of the base's options that it has too."""
    name = str(fields["pipeline"])
    known = set(registry.get(name).Options.model_fields)
    fields["options"] = {key: value for key, value in fields["options"].items() if key in known}


@dataclass(frozen=True)
class Batch:
    """Cells that one run draws: they differ in nothing but seeds that follow one another.

    Attributes:
        request: draws all of them; its tokens and text features are made once.
        cells: their indices in ``Sweep.requests``, in the order of the candidates.
    """

    request: CheckedRequest[Any]
    cells: tuple[int, ...]


def share_work(sweep: Sweep) -> list[Batch]:
    """The fewest runs that draw every cell; each picture is the one that its cell draws alone."""
    alike: dict[CheckedRequest[Any], list[int]] = {}
    for index, request in enumerate(sweep.requests):
        alike.setdefault(replace(request, seed=0), []).append(index)
    batches = []
    for cells in alike.values():
        cells = sorted(cells, key=lambda i: (sweep.requests[i].seed, i))
        chain: list[int] = []
        for index in cells:
            seed = sweep.requests[index].seed
            if chain and (len(chain) == MAX_IMAGES
                          or seed != candidate_seed(sweep.requests[chain[0]].seed, len(chain))):
                batches.append(_batch(sweep, chain))
                chain = []
            chain.append(index)
        batches.append(_batch(sweep, chain))
    return sorted(batches, key=lambda batch: min(batch.cells))


def _batch(sweep: Sweep, cells: list[int]) -> Batch:
    request = replace(sweep.requests[cells[0]], num_images=len(cells))
    return Batch(request, tuple(cells))
