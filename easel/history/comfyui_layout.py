"""The layout of ComfyUI's editor as a graph of what runs, for files that hold nothing else.

Nodes give their values by position alone; sockets are linked by number. A node may stand for a
graph of its own (``definitions.subgraphs``), whose first links come from a node called -10 and
whose last ones lead to one called -20.

Source: Comfy-Org/ComfyUI_frontend, ``src/lib/litegraph/src/types/serialisation.ts`` and
``src/lib/litegraph/src/subgraph`` (layout and subgraphs); kijai/ComfyUI-KJNodes,
``web/js/setgetnodes.js`` (links by name).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_NODES, MAX_LEVELS = 5000, 8
INPUTS, OUTPUTS = -10, -20
MUTED = 2  # mode of a node that does not run
# What stands where among a node's values; None for what is of no interest.
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
    "PrimitiveNode": ("value",), "PrimitiveInt": ("value",), "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",), "PrimitiveStringMultiline": ("value",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "ShowText|pysssss": ("text_0",),
}
Link = tuple[Any, Any, Any, Any]  # node and socket where it begins, node and socket where it ends


def graph_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes of a layout and of its subgraphs, as ComfyUI writes what it ran.

    Args:
        raw: the JSON of the text ``workflow``, from anyone.

    Returns:
        Nodes by id with "class_type" and "inputs"; {} where it is no layout. Those of a subgraph
        have the id of the node that stands for it before their own.
    """
    definitions = raw.get("definitions")
    found = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    known = {str(each["id"]): each for each in (found if isinstance(found, list) else ())
             if isinstance(each, dict) and "id" in each}
    graph: dict[str, Any] = {}
    if isinstance(raw.get("nodes"), list) and isinstance(raw.get("links"), list):
        _Level(raw, known, "", [], 0, [0]).add_to(graph)
    return graph


class _Level:
    """A layout, or a subgraph where a node stands for it.

    Args:
        raw: its nodes and links.
        known: the subgraphs by id.
        prefix: of its nodes' ids.
        feeds: what comes in by each of its sockets: a link, a value or None.
        depth: levels above it.
        count: one number, how many nodes were looked at in all levels.
    """

    def __init__(self, raw: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]],
                 prefix: str, feeds: list[Any], depth: int, count: list[int]) -> None:
        self.prefix, self.feeds = prefix, feeds
        self.nodes: dict[str, Mapping[str, Any]] = {}
        nodes, links = raw.get("nodes"), raw.get("links")
        for node in nodes if isinstance(nodes, list) else ():
            if isinstance(node, dict) and count[0] < MAX_NODES and node.get("mode") != MUTED:
                self.nodes[str(node.get("id"))] = node
                count[0] += 1
        self.links = dict(_read_links(links if isinstance(links, list) else ()))
        self.ends = {(link[2], link[3]): key for key, link in self.links.items()
                     if isinstance(link[3], int)}
        self.setters = {_name_of(node): node for node in self.nodes.values()
                        if node.get("type") == "SetNode"}
        self.children: dict[str, _Level] = {}
        for name, node in self.nodes.items():
            definition = known.get(str(node.get("type")))
            if definition is not None and depth < MAX_LEVELS:
                self.children[name] = _Level(definition, known, f"{prefix}{name}:",
                                             self._sockets(node), depth + 1, count)

    def add_to(self, graph: dict[str, Any]) -> None:
        """Add the nodes of this level and of those below."""
        for name, node in self.nodes.items():
            if name in self.children:
                self.children[name].add_to(graph)
            else:
                graph[self.prefix + name] = {"class_type": str(node.get("type", "")),
                                             "inputs": self._inputs(node)}

    def _inputs(self, node: Mapping[str, Any]) -> dict[str, Any]:
        kind, values = str(node.get("type", "")), node.get("widgets_values")
        inputs: dict[str, Any] = {}
        if isinstance(values, dict):
            inputs = {str(name): value for name, value in values.items()}
        elif isinstance(values, list):
            names = WIDGETS.get(kind, ("text",) if len(values) == 1 else ())
            inputs = {name: value for name, value in zip(names, values, strict=False) if name}
        sockets = node.get("inputs")
        for socket in sockets if isinstance(sockets, list) else ():
            if isinstance(socket, dict) and isinstance(link := socket.get("link"), int | str):
                value = self.source(link)
                if value is not None:
                    inputs[str(socket.get("name"))] = value
        return inputs

    def _sockets(self, node: Mapping[str, Any]) -> list[Any]:
        """What comes into a node that stands for a subgraph; where no link does, its own value."""
        values, sockets = node.get("widgets_values"), node.get("inputs")
        own = iter(values if isinstance(values, list) else ())
        found = []
        for socket in sockets if isinstance(sockets, list) else ():
            link = socket.get("link") if isinstance(socket, dict) else None
            value = next(own, None) if isinstance(socket, dict) and "widget" in socket else None
            found.append(self.source(link) if isinstance(link, int | str) else value)
        return found

    def source(self, link: int | str, tries: int = MAX_LEVELS) -> Any:
        """Where a link comes from: node and socket, a value, or None where that is not known."""
        if link not in self.links or not tries:
            return None
        node, socket, *_ = self.links[link]
        if node == INPUTS:
            inside = isinstance(socket, int) and 0 <= socket < len(self.feeds)
            return self.feeds[socket] if inside else None
        name = str(node)
        if name in self.children:
            child = self.children[name]
            end = child.ends.get((OUTPUTS, socket)) if isinstance(socket, int) else None
            return None if end is None else child.source(end, tries - 1)
        if self.nodes.get(name, {}).get("type") == "GetNode":
            setter = self.setters.get(_name_of(self.nodes[name]), {})
            sockets = setter.get("inputs")
            for each in sockets if isinstance(sockets, list) else ():
                if isinstance(each, dict) and isinstance(each.get("link"), int | str):
                    return self.source(each["link"], tries - 1)
            return None
        return [self.prefix + name, socket]


def _read_links(links: Any) -> list[tuple[int | str, Link]]:
    """Links by number, in both of the ways in which they are written."""
    found = []
    for link in links:
        if isinstance(link, list) and len(link) >= 5:
            key, ends = link[0], (link[1], link[2], link[3], link[4])
        elif isinstance(link, dict):
            key = link.get("id")
            ends = (link.get("origin_id"), link.get("origin_slot"),
                    link.get("target_id"), link.get("target_slot"))
        else:
            continue
        if isinstance(key, int | str) and isinstance(ends[2], int | str):
            found.append((key, ends))
    return found


def _name_of(node: Mapping[str, Any]) -> str:
    """What a node that sends or takes a value by name calls it."""
    values = node.get("widgets_values")
    return str(values[0]) if isinstance(values, list) and values else ""
