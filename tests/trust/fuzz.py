"""``python -m tests.trust.fuzz a1111 bundles --minutes 10``: readers against guided inputs.

libFuzzer changes bytes, guided by which lines they reach, or with ``--generated`` chooses what
hypothesis generates. Needs atheris, of which there are wheels for some Pythons on Linux alone:
``pip install atheris==3.0.0``. What breaks a reader is written to ``runs/fuzz/NAME`` and ends its
turn; the corpus there is gone on with. What was tried is added to ``benchmarks/results/fuzz.json``.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from benchmarks.results import RESULTS_DIR, read_results, write_results

RUNS = Path("runs") / "fuzz"
INPUT_S, INPUT_BYTES, MEMORY_MB = 60, 2**16, 4096
BROKEN = ("crash-*", "timeout-*", "oom-*", "leak-*")


def main(
    names: Annotated[list[str], typer.Argument(
        help="Which readers, one after the other; see tests/trust/parsers.py. Or: all.")],
    minutes: Annotated[float, typer.Option(min=0.05, help="How long each.")] = 10,
    generated: Annotated[bool, typer.Option(help="What hypothesis generates, or bytes.")] = False,
    seed: Annotated[int, typer.Option(min=1, help="Of libFuzzer.")] = 1,
) -> None:
    """Try readers until the time is over or something breaks them."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["pipelines", "easel"], exclude=["easel.ui"]):
        from tests.trust.parsers import PARSERS

    path = RESULTS_DIR / "fuzz.json"
    for name in PARSERS if names == ["all"] else names:
        folder = RUNS / name
        folder.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            _fuzz(atheris, PARSERS[name], folder, minutes, generated, seed)
        os.waitpid(pid, 0)
        found = _told((folder / "log").read_text("utf-8", "replace"))
        found["broken"] += sorted(file.name for kind in BROKEN for file in folder.glob(kind))
        print(name, found, flush=True)
        write_results(path, {**(read_results(path) or {}), name: found})


def _fuzz(atheris: Any, parser: Any, folder: Path, minutes: float, generated: bool, seed: int,
          ) -> NoReturn:
    """Try one reader; its output goes into a file of its own."""
    import hypothesis

    corpus = folder / ("generated" if generated else "bytes")
    corpus.mkdir(exist_ok=True)
    target: Any = parser.read
    if generated:
        tried: Any = hypothesis.settings(deadline=None, database=None)(
            hypothesis.given(parser.inputs())(parser.read))
        target = tried.hypothesis.fuzz_one_input
    else:
        for number, data in enumerate(parser.seeds):
            (corpus / f"seed-{number}").write_bytes(data)
    words = folder / "words.txt"
    words.write_text("".join(
        '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
        for word in parser.words if 0 < len(word) <= 60))
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    atheris.Setup([sys.argv[0], f"-max_total_time={round(60 * minutes)}", f"-timeout={INPUT_S}",
                   f"-rss_limit_mb={MEMORY_MB}", f"-max_len={INPUT_BYTES}", f"-seed={seed}",
                   f"-dict={words}", f"-artifact_prefix={folder}/", "-print_final_stats=1",
                   str(corpus)], lambda data: target(data) and None)
    atheris.Fuzz()
    os._exit(0)


def _told(log: str) -> dict[str, Any]:
    """How many inputs libFuzzer tried, in how many seconds, and what was raised."""
    done = re.search(r"Done (\d+) runs in (\d+) second", log)
    tries = re.findall(r"^#(\d+)", log, re.MULTILINE)  # where it ended early
    return {"inputs": int(done[1] if done else tries[-1] if tries else 0),
            "seconds": int(done[2]) if done else 0,
            "broken": re.findall(r"Uncaught Python exception: ===\n(.{1,200})", log)}


if __name__ == "__main__":
    typer.run(main)
