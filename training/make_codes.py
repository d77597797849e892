"""Make the scenes of a trainer's store before it starts, in several processes.

    python -m training.make_codes --trainer dalle --scenes 600000 --processes 8

A trainer grows its store as it goes, in a thread beside the training. A GPU reads scenes faster
than one thread makes them: with this, several processes draw and encode them on it first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from training.data import World
from training.loop import load_config
from training.train_dalle import code_store, load_vqgan
from training.unclip_data import EmbeddedScenes, load_clip

CONFIGS = Path(__file__).parent / "configs"


def fill(trainer: str, config: dict[str, Any], scenes: int, part: int, parts: int) -> None:
    """Write every ``parts``-th shard that is not there yet, from shard ``part`` on.

    Args:
        trainer: "dalle" or "decoder".
        config: of the trainer.
        scenes: how many the store shall have in all.
        part: number of this process.
        parts: processes.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    world, vqgan = World(device), load_vqgan(config["vqgan"]).to(device)
    if trainer == "dalle":
        store = writer = code_store(config, vqgan, world)
    else:
        clip, fingerprint = load_clip()
        writer = EmbeddedScenes(config, world, vqgan, clip.to(device), fingerprint)
        store = writer.store
    for number in range(part, -(-scenes // config["chunk"]), parts):
        if not store.path(number).exists():
            writer.write(number)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--trainer", choices=("dalle", "decoder"), required=True)
    parser.add_argument("--scenes", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--part", type=int, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    config = load_config(CONFIGS / f"{given.trainer}.toml", [], torch.cuda.is_available())
    if given.part is not None:
        fill(given.trainer, config, given.scenes, given.part, given.processes)
        return
    command = [sys.executable, "-m", "training.make_codes", *sys.argv[1:], "--part"]
    running = [subprocess.Popen([*command, str(k)]) for k in range(given.processes)]
    if any([process.wait() for process in running]):
        raise SystemExit("a process failed")


if __name__ == "__main__":
    main()
