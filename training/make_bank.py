"""Decode scenes from their VQGAN codes, true and scrambled, for training CLIPs and the judge.

    python -m training.make_bank --count 4000

Writes ``runs/bank.pt``: ``pictures`` (N, 3, 128, 128) uint8 decoded from the codes of scenes
``seeds`` of the split "train-bank" (some codes replaced at random: what a generator's slips look
like), and ``broken`` (N / 4, …) decoded from codes that show nothing.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from training.data import World
from training.loop import RUNS_DIR, fast_autocast
from training.train_dalle import load_vqgan

PART = 32  # pictures at once


@torch.no_grad()
def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000)
    count = parser.parse_args().count
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world, vqgan = World(device), load_vqgan().to(device)
    sampler, generator = world.sampler("train-bank", jitter=0.25), torch.Generator().manual_seed(1)
    size_px, codes, pictures = vqgan.config.resolution, [], []

    def decode(indices: Tensor) -> Tensor:
        with fast_autocast(device):
            decoded = vqgan.decode_indices(indices.to(device)).float()
        return ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()

    for start in range(0, count, PART):
        scenes = [sampler.sample(i) for i in range(start, start + PART)]
        indices = vqgan.encode(world.render(scenes, size_px) * 2 - 1).cpu()
        codes.append(indices)
        rate = 0.08 * torch.rand(len(indices), 1, 1, generator=generator)
        slips = torch.rand(indices.shape, generator=generator) < rate
        others = indices.flatten()[torch.randperm(indices.numel(), generator=generator)].view_as(
            indices
        )
        pictures.append(decode(torch.where(slips, others, indices)))
    every, broken = torch.cat(codes), []
    for _ in range(0, count // 4, PART):
        shuffled = every[torch.randint(len(every), (PART,), generator=generator)].flatten(1)
        half = len(shuffled) // 2
        shuffled[:half] = torch.randint(
            vqgan.config.n_embed, shuffled[:half].shape, generator=generator
        )
        order = torch.argsort(torch.rand(shuffled.shape, generator=generator), dim=1)
        broken.append(decode(shuffled.gather(1, order).view(-1, *every.shape[1:])))
    RUNS_DIR.mkdir(exist_ok=True)
    state = {
        "pictures": torch.cat(pictures),
        "broken": torch.cat(broken),
        "seeds": list(range(count)),
    }
    torch.save(state, RUNS_DIR / "bank.pt")
    print(f"{count} pictures and {len(state['broken'])} broken ones in {RUNS_DIR / 'bank.pt'}")


if __name__ == "__main__":
    main()
