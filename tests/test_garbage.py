"""Nothing looks for garbage while a process begins, and everything does afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BEGUN = """
import gc
from easel.garbage import without_collection

seen = []
gc.callbacks.append(lambda phase, info: seen.append(phase))
with without_collection():
    kept = [[] for _ in range(100_000)]
print(len(seen), gc.isenabled(), gc.get_freeze_count() > 100_000)
before = gc.get_freeze_count()
with without_collection():
    more = [[] for _ in range(100_000)]
print(gc.get_freeze_count() <= before)
loop = []
loop.append(loop)
del loop
print(gc.collect() >= 1)
gc.disable()
with without_collection():
    pass
print(gc.isenabled())
"""


def test_a_process_begins_without_looking_and_looks_afterwards(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BEGUN], cwd=repository, check=True, timeout=300,
                          stdout=subprocess.PIPE, text=True)
    begun, later, found, left = done.stdout.splitlines()
    assert begun == "0 True True"
    assert later == "True", "only what it began with is kept from being looked through"
    assert found == "True"
    assert left == "False", "who looks for none goes on without"
