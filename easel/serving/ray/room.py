# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""How many runners the machines of a cluster have room for."""

from __future__ import annotations

from collections.abc import Mapping

import ray


def room_for(takes: Mapping[str, float]) -> int:
    """How many runners there is room for now, if nothing else runs there.

    Args:
        takes: what one takes of a machine, by Ray's names; more than nothing of one at least.
    """
    asked = {name: amount for name, amount in takes.items() if amount}
    return sum(int(min(node["Resources"].get(name, 0) / amount for name, amount in asked.items()))
               for node in ray.nodes() if node["Alive"])
