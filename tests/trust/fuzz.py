"""``python -m tests.trust.fuzz a1111 --minutes 10``: a reader against inputs that coverage guides.

libFuzzer changes bytes or, with ``--generated``, chooses what hypothesis generates. Needs atheris,
of which there are wheels for some Pythons on Linux alone: ``pip install atheris==3.0.0``. What
breaks a reader is written to ``runs/fuzz/NAME`` and ends the run; the corpus there is gone on with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

RUNS = Path("runs") / "fuzz"
INPUT_S, INPUT_BYTES, MEMORY_MB = 20, 2**16, 4096


def main(
    name: Annotated[str, typer.Argument(help="Which reader; see tests/trust/parsers.py.")],
    minutes: Annotated[float, typer.Option(min=0.05, help="How long.")] = 10,
    generated: Annotated[bool, typer.Option(help="What hypothesis generates, or bytes.")] = False,
    seed: Annotated[int, typer.Option(min=1, help="Of libFuzzer.")] = 1,
) -> None:
    """Try a reader until the time is over or something breaks it."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["pipelines", "easel"], exclude=["easel.ui"]):
        from tests.trust.parsers import PARSERS
    import hypothesis

    parser = PARSERS[name]
    corpus = RUNS / name / ("generated" if generated else "bytes")
    corpus.mkdir(parents=True, exist_ok=True)
    target: Any = parser.read
    if generated:
        tried: Any = hypothesis.settings(deadline=None, database=None)(
            hypothesis.given(parser.inputs())(parser.read))
        target = tried.hypothesis.fuzz_one_input
    else:
        for number, data in enumerate(parser.seeds):
            (corpus / f"seed-{number}").write_bytes(data)
    words = RUNS / name / "words.txt"
    words.write_text("".join(
        '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
        for word in parser.words if 0 < len(word) <= 60))
    atheris.Setup([sys.argv[0], f"-max_total_time={round(60 * minutes)}", f"-timeout={INPUT_S}",
                   f"-rss_limit_mb={MEMORY_MB}", f"-max_len={INPUT_BYTES}", f"-seed={seed}",
                   f"-dict={words}", f"-artifact_prefix={RUNS / name}/", "-print_final_stats=1",
                   str(corpus)], lambda data: target(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
