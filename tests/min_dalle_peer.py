"""PyPI's min-dalle in a process of its own, since importing it switches gradients off for good.

``python -m tests.min_dalle_peer FOLDER`` writes a small model with random weights as the published
converter writes it into the folder, beside what min-dalle's own modules make of the same files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypeVar

import torch
from min_dalle.models import DalleBartDecoder, DalleBartEncoder, VQGanDetokenizer
from min_dalle.text_tokenizer import TextTokenizer
from safetensors.torch import save_file

from tests.min_dalle_folder import Sizes, converted, converted_vqgan, flax_parameters, flax_vqgan

DIM, HIDDEN, DEPTH, TEXT_LENGTH, CODES = 128, 192, 2, 64, 2**14
GUIDANCE, FORCED_STEPS, GREEDY_STEPS = 4.0, 6, 48
Module = TypeVar("Module", bound=torch.nn.Module)


def loaded(module: Module, path: Path) -> Module:
    """A module of min-dalle's with a file's tensors, as min-dalle itself loads them."""
    module.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return module.float().eval()


def random_vqgan() -> dict[str, torch.Tensor]:
    """A detokenizer whose outputs differ from place to place, norms included."""
    module = VQGanDetokenizer()
    for parameter in module.parameters():
        parameter += torch.randn_like(parameter) * (0.1 if parameter.ndim == 1 else 0.02)
    return module.state_dict()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text().split("\n")[1:-1]
    tokenizer = TextTokenizer(vocabulary, merges)
    prompts = json.loads((folder / "prompts.json").read_text())
    (folder / "tokens.json").write_text(json.dumps([tokenizer.tokenize(p) for p in prompts]))

    sizes = Sizes(len(vocabulary), CODES, DIM, HIDDEN, DEPTH, TEXT_LENGTH)
    for name in ("encoder", "decoder"):
        torch.save(converted(flax_parameters(sizes, name == "decoder")), folder / f"{name}.pt")
    torch.save(converted_vqgan(flax_vqgan(random_vqgan())), folder / "detoker.pt")
    encoder = loaded(DalleBartEncoder(DEPTH, DIM, DIM // 64, len(vocabulary), TEXT_LENGTH,
                                      HIDDEN, "cpu"), folder / "encoder.pt")
    decoder = loaded(DalleBartDecoder(CODES, DIM, DIM // 64, HIDDEN, DEPTH, "cpu"),
                     folder / "decoder.pt")
    detokenizer = loaded(VQGanDetokenizer(), folder / "detoker.pt")

    codes = torch.randint(CODES, (1, 4, 4))  # its attention knows squares only
    latents = detokenizer.embedding(codes).permute(0, 3, 1, 2).contiguous()
    pixels = detokenizer.decoder(detokenizer.post_quant_conv(latents))
    forced = torch.randint(CODES, (3, FORCED_STEPS))
    logits, _ = run(encoder, decoder, tokenizer, prompts[0], forced)
    _, greedy = run(encoder, decoder, tokenizer, prompts[0], None)
    found = {"codes": codes, "pixels": pixels.contiguous(), "forced": forced, "logits": logits,
             "greedy": greedy, "guidance": torch.tensor(GUIDANCE)}
    save_file(found, folder / "reference.safetensors")


def run(encoder: DalleBartEncoder, decoder: DalleBartDecoder, tokenizer: TextTokenizer,
        prompt: str, forced: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of forced codes, or the codes that guidance likes best, as MinDalle's loop does."""
    images = 1 if forced is None else len(forced)
    steps = GREEDY_STEPS if forced is None else FORCED_STEPS
    tokens = tokenizer.tokenize(prompt)[:TEXT_LENGTH]
    text = torch.ones(2, TEXT_LENGTH, dtype=torch.long)
    text[0, :2] = torch.tensor([tokens[0], tokens[-1]])
    text[1, :len(tokens)] = torch.tensor(tokens)
    rows = [0] * images + [1] * images
    shared = {"attention_mask": text[rows].not_equal(1)[:, None, None, :],
              "encoder_state": encoder(text)[rows]}
    state = torch.zeros(DEPTH, images * 4, 256, DIM)
    # The start code that the network was trained with; min-dalle's own loop reads the one before.
    codes = torch.full((images, steps + 1), CODES, dtype=torch.long)
    if forced is not None:
        codes[:, 1:] = forced
    found = []
    for i in range(steps):
        place = {"prev_tokens": codes[:, [i]], "token_index": torch.tensor([i])}
        if forced is None:
            settings = torch.tensor([1.0, 1.0, GUIDANCE])
            codes[:, i + 1], state = decoder.sample_tokens(
                settings=settings, attention_state=state, **shared, **place)
        else:
            logits, state = decoder(attention_state=state, **shared, **place)
            found.append(logits[:, -1, :CODES])
    return torch.stack(found) if found else torch.empty(0), codes[:, 1:].contiguous()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
