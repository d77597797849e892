"""How much memory a run takes, as the system tells it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from easel.serving.usage import ResidentMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux",
                                reason="the system does not say how much was used")


def in_a_thread(measure) -> float:
    """What a thread of its own measures, which has a heap of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(measure).result()


@pytest.mark.parametrize("freed_mb", [0, 20, 40, 120])
def test_what_was_freed_does_not_hide_what_is_used(freed_mb: int) -> None:
    def measure() -> float:
        gauge = ResidentMemory()
        pieces = [np.ones(2**16, np.uint8) for _ in range(freed_mb * 16)]
        del pieces
        gauge.settle()
        gauge.reset()
        before = gauge.now()
        held = np.ones(24 * 2**20, np.uint8)  # small enough for the heap
        assert gauge.now() - before > held.nbytes * 0.9
        del held
        return (gauge.peak() - before) / 2**20

    assert in_a_thread(measure) == pytest.approx(24, abs=3)
