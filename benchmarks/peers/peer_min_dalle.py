"""PyPI's min-dalle in a process of its own, since importing it switches gradients off for good.

Reads lines of JSON, ``{"images": 1, "steps": 2}``, and answers each with the seconds a step took.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from min_dalle.models import DalleBartDecoder, DalleBartEncoder

TEXT_LENGTH, NUM_CODES = 64, 256


def main() -> None:
    """Build a mini with random weights, then time steps as ``MinDalle`` takes them."""
    shape = json.loads(sys.argv[1])
    torch.set_num_threads(shape["threads"])
    torch.manual_seed(0)
    dim, depth, hidden = shape["dim"], shape["depth"], shape["hidden"]
    encoder = DalleBartEncoder(1, dim, dim // 64, shape["text_vocab_size"], TEXT_LENGTH, hidden,
                               "cpu").eval()
    decoder = DalleBartDecoder(shape["code_vocab_size"] - 1, dim, dim // 64, hidden, depth,
                               "cpu").eval()
    text = torch.ones(2, TEXT_LENGTH, dtype=torch.long)
    text[0, :2] = torch.tensor([0, 2])
    text[1, :shape["text_tokens"]] = 5
    states = encoder(text)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps({"step_s": timed(decoder, states, text, **asked)}), flush=True)


def timed(decoder: DalleBartDecoder, states: torch.Tensor, text: torch.Tensor, images: int,
          place: int) -> float:
    """Seconds of one call of ``sample_tokens`` at a place of the picture."""
    rows = [0] * images + [1] * images
    state = torch.zeros(decoder.layer_count, images * 4, NUM_CODES, decoder.embed_count)
    settings = torch.tensor([1.0, 256.0, 16.0])
    keywords = {"settings": settings, "attention_mask": text[rows].not_equal(1)[:, None, None, :],
                "encoder_state": states[rows], "attention_state": state,
                "prev_tokens": torch.zeros(images, 1, dtype=torch.long),
                "token_index": torch.tensor([place])}
    started = time.process_time()
    decoder.sample_tokens(**keywords)
    return time.process_time() - started


if __name__ == "__main__":
    main()
