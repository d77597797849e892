"""Prompts and settings out of a ComfyUI graph: back from the saved picture to what made it.

A graph is a dictionary of nodes by id, each with a ``class_type`` and its ``inputs``; an input is
a value or a link, ``[id of the node, number of its output]``. There are thousands of node types:
what is looked for are names of inputs that most of them share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NODES = 5000
MAX_DEPTH = 60
TEXTS = ("text", "text_g", "t5xxl", "text_l", "clip_l", "prompt", "string", "value",
         "populated_text", "wildcard_text")
CONDITIONINGS = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to",
                 "conditioning_from", "cond", "guider", "positive")
# The editor's own layout gives values by position alone; None stands for one of no interest.
WIDGETS: Mapping[str, tuple[str | None, ...]] = {
    "KSampler": ("seed", None, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (None, "noise_seed", None, "steps", "cfg", "sampler_name", "scheduler"),
    "SamplerCustom": (None, "noise_seed", None, "cfg"),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
}


@dataclass(frozen=True)
class Found:
    """What a graph says: two prompts, and settings by ComfyUI's names ("seed", "steps", "cfg",
    "sampler_name", "scheduler", "width", "height", "model")."""

    positive: str
    negative: str
    settings: dict[str, Any] = field(default_factory=dict)


Graph = Mapping[str, Mapping[str, Any]]


def read_graph(raw: Mapping[str, Any]) -> Found | None:
    """Read what ComfyUI ran.

    Args:
        raw: the JSON of the text ``prompt``, from anyone.

    Returns:
        None where it is no such graph, or nothing in it draws.
    """
    graph: dict[str, Mapping[str, Any]] = {}
    for name, node in list(raw.items())[:MAX_NODES]:
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            graph[str(name)] = {**node["inputs"], "class_type": str(node.get("class_type", ""))}
    sampler = _first_sampler(graph)
    if sampler is None:
        return None
    node = graph[sampler]
    guider = graph.get(_target(node.get("guider")), {})
    positive = node.get("positive", guider.get("positive", guider.get("conditioning")))
    negative = node.get("negative", guider.get("negative"))
    return Found(_texts(graph, positive), _texts(graph, negative), _settings(graph, sampler))


def read_workflow(raw: Mapping[str, Any]) -> Found | None:
    """Read the editor's layout, for files that hold nothing else.

    Args:
        raw: the JSON of the text ``workflow``, from anyone.

    Returns:
        As ``read_graph``.
    """
    nodes, links = raw.get("nodes"), raw.get("links")
    if not isinstance(nodes, list) or not isinstance(links, list):
        return None
    ends = {link[0]: [str(link[1]), link[2]] for link in links
            if isinstance(link, list) and len(link) >= 3 and isinstance(link[0], int | str)}
    graph: dict[str, Any] = {}
    for node in nodes:
        if not isinstance(node, dict):
            continue
        kind, values = str(node.get("type", "")), node.get("widgets_values")
        inputs: dict[str, Any] = {}
        if isinstance(values, list):
            names = WIDGETS.get(kind, TEXTS[:1] if len(values) == 1 else ())
            inputs = {name: value for name, value in zip(names, values, strict=False) if name}
        sockets = node.get("inputs")
        for socket in sockets if isinstance(sockets, list) else ():
            if isinstance(socket, dict) and isinstance(link := socket.get("link"), int | str):
                inputs[str(socket.get("name"))] = ends.get(link)
        graph[str(node.get("id"))] = {"class_type": kind, "inputs": inputs}
    return read_graph(graph)


def _target(link: Any) -> str:
    """Id of the node at the other end of a link; empty where it is no link."""
    return str(link[0]) if isinstance(link, list) and len(link) == 2 else ""


def _upstream(graph: Graph, start: str) -> Iterator[str]:
    """A node and all that it depends on, the nearest first, each once."""
    seen, level = {start}, [start]
    while level:
        yield from level
        following = []
        for name in level:
            for value in graph[name].values():
                target = _target(value)
                if target in graph and target not in seen:
                    seen.add(target)
                    following.append(target)
        level = following


def _is_sampler(node: Mapping[str, Any]) -> bool:
    return ("positive" in node and ("seed" in node or "noise_seed" in node)) or (
        "guider" in node and "noise" in node)


def _first_sampler(graph: Graph) -> str | None:
    """The sampler farthest from the saved picture: later ones only refine what it drew."""
    used = {_target(value) for node in graph.values() for value in node.values()}
    ends = [name for name in graph if name not in used] or list(graph)
    saving = [name for name in ends if "save" in graph[name]["class_type"].lower()]
    for start in [*saving, *ends]:
        if samplers := [name for name in _upstream(graph, start) if _is_sampler(graph[name])]:
            return samplers[-1]
    return None


def _texts(graph: Graph, link: Any) -> str:
    """The texts that a conditioning was made from, joined by commas."""
    found = list(dict.fromkeys(_walk(graph, link, MAX_DEPTH, set())))
    return ", ".join(text.strip() for text in found if text.strip())


def _walk(graph: Graph, link: Any, depth: int, seen: set[tuple[str, bool]]) -> Iterator[str]:
    node, second = graph.get(_target(link)), bool(link) and link[-1] == 1
    # Each way into a node once: a graph from outside may be made to have more paths than time.
    if (node is None or not depth or (_target(link), second) in seen
            or node["class_type"] == "ConditioningZeroOut"):
        return
    seen.add((_target(link), second))
    for name in TEXTS:
        value = node.get(name)
        if isinstance(value, str):
            yield value
            return
        if _target(value) in graph:
            yield from _walk(graph, value, depth - 1, seen)
            return
    if second and "negative" in node:  # such as ControlNet, which passes both on
        yield from _walk(graph, node["negative"], depth - 1, seen)
        return
    for name in CONDITIONINGS:
        if name in node:
            yield from _walk(graph, node[name], depth - 1, seen)


def _settings(graph: Graph, sampler: str) -> dict[str, Any]:
    """The nearest value of every setting, looked for from the sampler backwards."""
    names = {"seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "cfg",
             "guidance": "cfg", "sampler_name": "sampler_name", "scheduler": "scheduler",
             "width": "width", "height": "height", "ckpt_name": "model", "unet_name": "model"}
    found: dict[str, Any] = {}
    for name in _upstream(graph, sampler):
        for key, value in graph[name].items():
            if key in names and isinstance(value, str | int | float):
                found.setdefault(names[key], value)
    return found
