"""Prompts and settings out of a ComfyUI graph: back from the saved picture to what made it.

A graph is a dictionary of nodes by id, each with a ``class_type`` and its ``inputs``; an input is
a value or a link, ``[id of the node, number of its output]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from easel.history.comfyui_layout import MAX_NODES, graph_of
from easel.history.comfyui_texts import Graph, prompt_of, scalar, target

SETTINGS = {"seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "cfg",
            "guidance": "cfg", "sampler_name": "sampler_name", "scheduler": "scheduler",
            "width": "width", "height": "height", "ckpt_name": "model", "unet_name": "model"}


@dataclass(frozen=True)
class Found:
    """What a graph says: two prompts, and settings by ComfyUI's names ("seed", "steps", "cfg",
    "sampler_name", "scheduler", "width", "height", "model")."""

    positive: str
    negative: str
    settings: dict[str, Any] = field(default_factory=dict)


def read_graph(raw: Mapping[str, Any]) -> Found | None:
    """Read what ComfyUI ran.

    Args:
        raw: the JSON of the text ``prompt``, from anyone.

    Returns:
        None where it is no such graph, or nothing in it draws.
    """
    graph: dict[str, Mapping[str, Any]] = {}
    for name, node in list(raw.items())[:MAX_NODES]:
        # One without a name would be at the end of everything that is no link.
        if name and isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            graph[str(name)] = {**node["inputs"], "class_type": str(node.get("class_type", ""))}
    sampler = (_first(graph, _is_sampler) or _first(graph, _has_prompts)
               or _first(graph, _has_seed))
    if sampler is None:
        return None
    node = graph[sampler]
    guider = graph.get(target(node.get("guider")), {})
    positive = node.get("positive", guider.get("positive", guider.get("conditioning")))
    negative = node.get("negative", guider.get("negative"))
    return Found(prompt_of(graph, positive, "positive"), prompt_of(graph, negative, "negative"),
                 _settings(graph, sampler))


def read_workflow(raw: Mapping[str, Any]) -> Found | None:
    """Read the editor's layout, for files that hold nothing else.

    Args:
        raw: the JSON of the text ``workflow``, from anyone.

    Returns:
        As ``read_graph``.
    """
    return read_graph(graph_of(raw))


def _upstream(graph: Graph, start: str, seen: set[str] | None = None) -> Iterator[str]:
    """A node and all that it depends on, the nearest first, each once.

    Args:
        seen: nodes to leave out with what they alone depend on; those that are found are added.
    """
    seen = set() if seen is None else seen
    level = [] if start in seen else [start]
    seen.add(start)
    while level:
        yield from level
        following = []
        for name in level:
            for value in graph[name].values():
                end = target(value)
                if end in graph and end not in seen:
                    seen.add(end)
                    following.append(end)
        level = following


def _is_sampler(node: Mapping[str, Any]) -> bool:
    return ("positive" in node and ("seed" in node or "noise_seed" in node)) or (
        "guider" in node and "noise" in node)


def _has_prompts(node: Mapping[str, Any]) -> bool:
    """Whether it is some loader with prompts in it, whose sampler calls everything otherwise."""
    return "positive" in node and "negative" in node


def _has_seed(node: Mapping[str, Any]) -> bool:
    """Whether it draws by a seed, with prompts that stand elsewhere or not in the file at all."""
    return "seed" in node or "noise_seed" in node


def _first(graph: Graph, wanted: Callable[[Mapping[str, Any]], bool]) -> str | None:
    """The sampler farthest from the saved picture: later ones only refine what it drew."""
    used = {target(value) for node in graph.values() for value in node.values()}
    ends = [name for name in graph if name not in used] or list(graph)
    saving = [name for name in ends if "save" in graph[name]["class_type"].lower()]
    seen: set[str] = set()  # of ends before, which have none: many may share a long way
    for start in [*saving, *ends]:
        if found := [name for name in _upstream(graph, start, seen) if wanted(graph[name])]:
            return found[-1]
    return None


def _settings(graph: Graph, sampler: str) -> dict[str, Any]:
    """The nearest value of every setting, looked for from the sampler backwards."""
    found: dict[str, Any] = {}
    for name in _upstream(graph, sampler):
        for key, value in graph[name].items():
            if key in SETTINGS and SETTINGS[key] not in found:
                plain = scalar(graph, value, name=key)
                if isinstance(plain, str | int | float) and not isinstance(plain, bool):
                    found[SETTINGS[key]] = plain
    return found
