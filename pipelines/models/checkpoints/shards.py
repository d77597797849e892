"""A model in several safetensors files: an index beside them says which tensor lies where.

Source: ``save_pretrained`` of transformers and diffusers, which shard what is larger than their
limit.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

SAFETENSORS, INDEX = ".safetensors", ".index.json"
MAX_SHARDS = 1000


def is_shard(whole: str, name: str) -> bool:
    """Whether a file is a shard of another, "a/model-00001-of-00002.safetensors" of "a/model…"."""
    if not whole.endswith(SAFETENSORS):
        return False
    stem = re.escape(whole.removesuffix(SAFETENSORS))
    return re.fullmatch(rf"{stem}-\d{{5}}-of-\d{{5}}\{SAFETENSORS}", name) is not None


def shard_names(whole: str, index: bytes) -> tuple[str, ...]:
    """The shards that an index lists.

    Args:
        whole: the file in whose place they lie, such as "prior/model.safetensors".
        index: what the index file holds.

    Raises:
        ValueError: it is not an index, or names files that are not beside it.
    """
    found = json.loads(index)
    table = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(table, dict) or not table:
        raise ValueError("no weight_map")
    names = [str(PurePosixPath(whole).parent / str(name)) for name in set(table.values())]
    if len(names) > MAX_SHARDS or not all(is_shard(whole, name) for name in names):
        raise ValueError("its shards are not beside it")
    return tuple(sorted(names))
