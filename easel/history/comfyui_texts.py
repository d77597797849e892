"""The prompt at the other end of a link in a ComfyUI graph.

There are thousands of node types, so none is known by its own name: what is looked at are names
of inputs that most nodes of a kind share. A node that none of this fits hands on what is linked to
it, so that no link ends silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH, MAX_TEXT_CHARS, MAX_PARTS = 60, 20_000, 64
Graph = Mapping[str, Mapping[str, Any]]

# What a node says that it made of the others, which counts more than what it was made from.
MADE = ("text_0", "populated_text")
TEXTS = ("text", "text_g", "t5xxl", "text_l", "clip_l", "prompt", "string", "value",
         "wildcard_text")
CONDITIONINGS = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to",
                 "conditioning_from", "cond", "guider", "positive")
CHOSEN = ("select", "index", "selected", "selector", "input", "choice")
SWITCHED = ("boolean", "switch", "condition", "bool", "toggle", "boolean_value")
DELIMITERS = ("delimiter", "separator", "sep", "delimeter")
SILENT = ("ConditioningZeroOut",)
# Where no prompt comes from.
OTHER = frozenset({"model", "clip", "vae", "image", "images", "samples", "latent", "latent_image",
                   "mask", "pixels", "control_net", "clip_vision", "clip_vision_output", "noise",
                   "sigmas", "sampler", "seed", "class_type", *DELIMITERS, *SWITCHED})
_PART = re.compile(r"(string|text|prompt|input|str|value|any|tag|phrase)_?(\d{1,3}|[a-h])")


def target(link: Any) -> str:
    """Id of the node at the other end of a link; empty where it is no link."""
    is_link = isinstance(link, list) and len(link) == 2 and isinstance(link[0], str | int)
    return str(link[0]) if is_link else ""


def prompt_of(graph: Graph, link: Any, role: str) -> str:
    """The texts that a conditioning was made from, joined by commas.

    Args:
        graph: nodes by id.
        link: where a sampler gets it from, or the text itself.
        role: "positive" or "negative", for nodes that have both.
    """
    if isinstance(link, str):
        return link.strip()
    found = dict.fromkeys(_Reader(graph, role).conditioning(link, MAX_DEPTH))
    return ", ".join(text.strip() for text in found if text.strip())[:MAX_TEXT_CHARS]


class _Reader:
    """Walks from a sampler to its texts; each way into a node once, since a graph from outside may
    be made to have more paths than time."""

    def __init__(self, graph: Graph, role: str) -> None:
        self.graph, self.role = graph, role
        self.seen: set[str] = set()
        self.made: dict[str, str] = {}

    def conditioning(self, link: Any, depth: int) -> Iterator[str]:
        """Every text on the way back from a link."""
        name = target(link)
        node = self.graph.get(name) if name else None
        if node is None or not depth or name in self.seen or node["class_type"] in SILENT:
            return
        self.seen.add(name)
        if isinstance(own := node.get(self.role), str):  # a loader with both prompts in it
            yield own
        elif any(key in node for key in (*MADE, *TEXTS)):
            if text := self.text(link, depth):
                yield text
        elif "positive" in node and "negative" in node:  # such as ControlNet, which hands on both
            yield from self.conditioning(node[self.role], depth - 1)
        else:
            known = [key for key in CONDITIONINGS if key in node]
            for key in known or [key for key in node if key not in OTHER]:
                yield from self.conditioning(node[key], depth - 1)

    def text(self, value: Any, depth: int) -> str:
        """A text, or what the node at the other end of a link makes one from."""
        if isinstance(value, str):
            return value
        name = target(value)
        node = self.graph.get(name) if name else None
        if node is None or not depth:
            return ""
        if name not in self.made:
            self.made[name] = ""  # for a graph that goes round
            self.made[name] = self._made(node, depth - 1)[:MAX_TEXT_CHARS]
        return self.made[name]

    def _made(self, node: Mapping[str, Any], depth: int) -> str:
        for key in MADE:
            if isinstance(node.get(key), str) and node[key].strip():
                return node[key]
        if isinstance(own := node.get(self.role), str):
            return own
        if (chosen := self._chosen(node, depth)) is not None:
            return self.text(node[chosen], depth)
        for key in TEXTS:
            if isinstance(node.get(key), str) or target(node.get(key)) in self.graph:
                return self._replaced(node, self.text(node[key], depth), depth)
        parts = sorted((key for key in node if _PART.fullmatch(key)), key=_order)
        if parts:
            said = [text for key in parts[:MAX_PARTS] if (text := self.text(node[key], depth))]
            return self._delimiter(node, depth).join(said)
        linked = [self.text(node[key], depth) for key in node
                  if key not in OTHER and target(node[key])][:MAX_PARTS]
        return ", ".join(dict.fromkeys(text for text in linked if text))

    def _chosen(self, node: Mapping[str, Any], depth: int) -> str | None:
        """Name of the input that a switch lets through; None where the node is not a switch."""
        for key in SWITCHED:
            value = self._scalar(node.get(key), depth)
            if isinstance(value, bool):
                word = "true" if value else "false"
                return next((name for name in node if name.lower().endswith(word)), None)
        for key in node:
            number = self._scalar(node[key], depth) if key.lower() in CHOSEN else None
            if isinstance(number, int) and not isinstance(number, bool):
                # Some switches count from 0, and then have an input of that number.
                names = {int(match[2]): name for name in node
                         if (match := _PART.fullmatch(name)) and match[2].isdigit()}
                return names.get(number)
        return None

    def _scalar(self, value: Any, depth: int) -> Any:
        return scalar(self.graph, value, depth) if isinstance(value, list) else value

    def _delimiter(self, node: Mapping[str, Any], depth: int) -> str:
        found = next((node[key] for key in DELIMITERS if key in node), ", ")
        return self.text(found, depth).replace("\\n", "\n")

    def _replaced(self, node: Mapping[str, Any], text: str, depth: int) -> str:
        if "find" in node and "replace" in node:
            old = self.text(node["find"], depth)
            new = self.text(node["replace"], depth)
            if old and text.count(old) * len(new) <= MAX_TEXT_CHARS:
                return text.replace(old, new)
        return text


def scalar(graph: Graph, value: Any, depth: int = MAX_DEPTH, name: str = "") -> Any:
    """A plain value, followed over links; None where a node makes it from several.

    Args:
        graph: nodes by id.
        value: of an input.
        depth: links to follow at most.
        name: of the input, which the node at the other end may have as well.
    """
    while depth and (node := graph.get(target(value))) is not None:
        depth -= 1
        keys = [key for key in (name, "value", "int", "float", "number", "seed", "noise_seed",
                                "boolean") if key in node]
        plain = [key for key, each in node.items()
                 if key != "class_type" and (isinstance(each, int | float) or target(each))]
        if not keys and len(plain) != 1:
            return None
        value = node[keys[0] if keys else plain[0]]
    return value if isinstance(value, str | int | float) else None


def _order(key: str) -> tuple[str, int, str]:
    match = _PART.fullmatch(key)
    assert match is not None
    number = int(match[2]) if match[2].isdigit() else 0
    return match[1], number, match[2]
