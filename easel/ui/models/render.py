"""The Models tab as HTML: cards of wishes, a memory bar, and a table of all models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from easel.serving.jobs import RunnerCounts
from easel.ui.models.advice import Machine, advised
from easel.ui.models.wishes import Wish, WishState, states
from easel.ui.parts.names import with_names
from easel.ui.parts.panel import seconds
from easel.ui.parts.tiles import alert, bar, gauge
from easel.words import strings
from easel.words.language import say, written
from pipelines.core.amounts import megabytes
from pipelines.models.cache.inventory import ModelRow, Models
from pipelines.models.checkpoints.entries import UNSTATED, licence_words

UNSTATED_WORDS = licence_words(UNSTATED)


def render_wishes(inventory: Models, refused: str = "", may_act: bool = True,
                  took_s: Callable[[Wish], float | None] = lambda wish: None,
                  machine: Machine | None = None) -> str:
    """What to wish for: a card each, those first that give most on this machine.

    Args:
        inventory: the models.
        refused: why the last press of a button had no effect.
        may_act: whether whoever looks has buttons.
        took_s: seconds that who draws by a wish took for the last picture; None before it.
        machine: what they run on; None gives no advice.
    """
    alerts = "".join(map(alert, [*([refused] if refused else []), *inventory.catalogue.faults]))
    note = "" if may_act else f'<p class="hint">{escape(strings.MODELS_LOOK)}</p>'
    found = states(inventory.rows())
    first = advised(found, machine) if machine is not None else []
    parts = [[state for name in first for state in found if state.wish.id == name],
             [state for state in found if state.wish.id not in first]]
    heads = (strings.START_HEAD, strings.START_MORE) if first else ("", "")
    grids = "".join(
        (f"<h3>{head}</h3>" if head else "")
        + (f'<p class="hint machine">{escape(_machine(machine))}</p>'
           if machine is not None and part is parts[0] and first else "")
        + '<div class="wishes">'
        + "".join(_card(state, may_act, took_s, machine) for state in part) + "</div>"
        for head, part in zip(heads, parts, strict=True) if part)
    return f"{alerts}{note}{grids}"


def render_models(inventory: Models, may_act: bool = True, runners: RunnerCounts | None = None,
                  ) -> str:
    """The memory, and every model.

    Args:
        inventory: the models.
        may_act: whether whoever looks has buttons.
        runners: how many runners of a cluster there are; None where this machine draws.
    """
    memory, rows = inventory.memory(), inventory.rows()
    bars = _memory(strings.MODELS_DEVICE, memory.used_bytes, memory.budget_bytes)
    if memory.host_budget_bytes != 0:
        bars += _memory(strings.MODELS_HOST, memory.host_used_bytes, memory.host_budget_bytes)
    groups = "".join(_group(kind, [row for row in rows if row.kind == kind], may_act)
                     for kind in ("embedded", "public", "own"))
    heads = "".join(f'<th scope="col">{name}</th>' for name in strings.MODELS_HEADS[:-1])
    counts = "" if runners is None else (
        '<p class="hint runners">' + escape(strings.MODELS_RUNNERS_HERE.format(
            runners.here, runners.wanted or strings.MODELS_NEVER, runners.least, runners.most))
        + "</p>")
    return (f'{counts}<div class="memory">{bars}</div>'
            f'<table class="models"><thead><tr>{heads}<td></td>'
            f'</tr></thead>{groups}</table>')


def _machine(machine: Machine) -> str:
    """What a machine is, in a sentence."""
    sizes = [_size(size) if size is not None else strings.MODELS_UNKNOWN
             for size in (machine.memory_bytes, machine.free_disk_bytes)]
    if machine.accelerator:
        return strings.START_MACHINE_GPU.format(machine.accelerator, *sizes)
    return strings.START_MACHINE.format(*sizes)


def _card(state: WishState, may_act: bool, took_s: Callable[[Wish], float | None],
          machine: Machine | None) -> str:
    wish = state.wish
    title = f"{say(wish.title)}: {wish.by}"
    if state.progress is not None:
        said = strings.WISH_COMING.format(round(100 * state.progress))
        acts, moved = ("halt",), bar(round(100 * state.progress), 100, title)
    elif state.missing:
        said, moved, acts = _asked(state), "", ("get",)
    else:
        said, moved, acts = strings.WISH_HERE, "", ()
    facts = [said, _licences(state)]
    if (elapsed_s := took_s(wish)) is not None:
        facts.append(strings.WISH_TOOK.format(seconds(elapsed_s)))
    else:
        if needs := max((row.vram_bytes or 0 for row in state.rows), default=0):
            facts.append(strings.MODELS_NEEDS.format(_size(needs)))
        if machine is not None and (waits_s := machine.seconds(wish)) is not None:
            facts.append(strings.WISH_TAKES.format(seconds(_rounded(waits_s))))
    asked = "".join(f'<p class="facts">{escape(say(each))}</p>' for each in dict.fromkeys(
        row.restrictions for row in state.rows) if each)
    buttons = "".join(
        f'<button type="button" data-act="{act}" data-model="{wish.id}" '
        f'aria-label="{strings.MODELS_ACTS[act]}: {escape(title)}">{strings.MODELS_ACTS[act]}'
        "</button>" for act in acts) if may_act else ""
    error = alert(state.error) if state.error else ""
    return (f'<article class="wish{"" if state.missing else " here"}" data-card="{wish.id}">'
            f"<h3>{with_names(say(wish.title))}: {with_names(wish.by)}</h3>"
            f"<p>{with_names(say(wish.gives))}</p>"
            f'<p class="facts state">{escape(" · ".join(facts))}</p>{asked}{moved}{error}'
            f"{buttons}</article>")


def _rounded(value_s: float) -> float:
    """An estimate in one or two digits, and from two minutes on in whole ones."""
    if value_s >= 120:
        return 60.0 * round(value_s / 60)
    return float(f"{value_s:.1g}" if value_s < 10 else f"{value_s:.2g}")


def _asked(state: WishState) -> str:
    """What is to be downloaded."""
    size = _size(state.bytes_) if state.bytes_ else strings.MODELS_UNKNOWN
    here = len(state.rows) - len(state.missing)
    if here:
        return strings.WISH_REST.format(here, len(state.rows), size)
    return strings.MODELS_ABOUT.format(size) if state.bytes_ else size


def _licences(state: WishState) -> str:
    return ", ".join(dict.fromkeys(_licence(row) for row in state.rows))


def _licence(row: ModelRow) -> str:
    return strings.MODELS_UNLICENSED if row.licence == UNSTATED_WORDS else row.licence


def _memory(label: str, used_bytes: int, budget_bytes: int | None) -> str:
    """How much of a memory is in use."""
    total = strings.MODELS_OF.format(_size(used_bytes), _size(budget_bytes)) \
        if budget_bytes is not None else _size(used_bytes)
    share = min(1.0, used_bytes / budget_bytes) if budget_bytes else 0.0
    return gauge(label, share, total)


def _group(kind: str, rows: Sequence[ModelRow], may_act: bool) -> str:
    if not rows:
        return ""
    columns = len(strings.MODELS_HEADS)
    return (f'<tbody><tr class="kind"><th scope="rowgroup" colspan="{columns}">'
            f'{strings.MODELS_KINDS[kind]}</th></tr>'
            f'{"".join(_row(row, may_act) for row in rows)}</tbody>')


def _row(row: ModelRow, may_act: bool) -> str:
    _, size, state, load, counts, _ = strings.MODELS_HEADS
    error = alert(row.error) if row.error else ""
    licence = escape(_licence(row))
    asked = (f'<span class="facts restrictions">{escape(say(row.restrictions))}</span>'
             if row.restrictions else "")
    origin = f'<span class="origin">{escape(row.repository or say(row.source))}</span>'
    return (
        f'<tr data-row="{escape(row.id)}"><th scope="row"><span class="title">'
        f'{with_names(say(row.title))}</span><span class="facts">{licence} · {origin}</span>'
        f'{asked}{error}</th><td data-label="{size}">{_sizes(row)}</td>'
        f'<td data-label="{state}" class="state">{_state(row)}</td>'
        f'<td data-label="{load}">{_load(row)}</td>'
        f'<td data-label="{counts}" class="figures">{row.hits} · {row.misses} · {row.evictions}'
        f'</td><td class="acts">{_buttons(row) if may_act else ""}</td></tr>')


def _size(size_bytes: int) -> str:
    return written(megabytes(size_bytes))


def _sizes(row: ModelRow) -> str:
    if row.disk_bytes and row.state not in ("not downloaded", "downloading", "checking"):
        size = _size(row.disk_bytes)
    elif row.download_bytes:
        size = strings.MODELS_ABOUT.format(_size(row.download_bytes))
    else:
        size = strings.MODELS_UNKNOWN
    needs = f'<span class="facts">{strings.MODELS_NEEDS.format(_size(row.vram_bytes))}</span>' \
        if row.vram_bytes else ""
    return size + needs


def _state(row: ModelRow) -> str:
    words = say(row.state)
    if row.progress is not None and row.state == "downloading":
        words += f", {row.progress:.0%}"
    facts = "".join(f'<span class="facts">{fact}</span>' for fact, holds in (
        (_places(row), row.places), (strings.MODELS_PINNED, row.pinned),
        (strings.MODELS_OFFLOADED, row.offloaded)) if holds)
    moved = (bar(round(100 * row.progress), 100, say(row.title)) if row.progress is not None else
             bar(0, 0, moving=True) if row.state == "loading" else "")
    return f"{words}{facts}{moved}"


def _places(row: ModelRow) -> str:
    """Where a model is at how many runners of a cluster."""
    counts = Counter(say(state) for _, state in row.places)
    return strings.MODELS_RUNNERS.format(
        ", ".join(f"{count} {state}" for state, count in counts.items()))


def _load(row: ModelRow) -> str:
    return seconds(row.last_load_s) if row.last_load_s is not None else strings.MODELS_NEVER


def _buttons(row: ModelRow) -> str:
    acts: list[str] = []
    if row.state in ("downloading", "checking", "loading"):
        acts.append("cancel")
    elif row.state == "not downloaded":
        acts.append("download")
    elif row.state == "on disk":
        acts.append("load")
    elif row.state == "in host memory":
        acts += ["load", "unload"]
    elif row.state == "on the device":
        acts.append("unload")
    if row.state in ("on the device", "in use") and any(
            state in ("on disk", "in host memory") for _, state in row.places):
        acts.insert(0, "load")  # to the runners that lack it
    if row.state in ("on disk", "in host memory", "on the device", "in use"):
        acts.append("unpin" if row.pinned else "pin")
    return "".join(
        f'<button type="button" data-act="{act}" data-model="{escape(row.id)}" '
        f'aria-label="{strings.MODELS_ACTS[act]}: {escape(say(row.title))}">'
        f'{strings.MODELS_ACTS[act]}</button>' for act in acts)
