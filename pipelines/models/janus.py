"""Janus-Pro through transformers: text and image tokens in one stream, taken one at a time.

transformers' own ``generate`` returns all tokens at once; here they come one by one, so that
pictures show while they are written, a run can be stopped, and each picture has its own seed.

Source: Chen et al., "Janus-Pro: Unified Multimodal Understanding and Generation with Data and Model
Scaling" (2025), section 2; guidance: Wu et al., "Janus" (2024), section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration, JanusProcessor, StaticCache

# Where a folder brings no chat template; the same words as DeepSeek's own.
PLAIN_PROMPT = "<|User|>: {}\n\n<|Assistant|>:"


@dataclass
class JanusState:
    """One stream of tokens for ``rows`` rows.

    Attributes:
        rows: pictures, twice that where guided: rows without the caption first.
        cache: keys and values of the language model.
        prompt: (rows, T) int64, None once it is read.
    """

    rows: int
    cache: StaticCache
    prompt: Tensor | None


class Janus(nn.Module):
    """The parts that draw: language model, head and embedding of image tokens, VQ decoder.

    The tower that looks at pictures is left out; it would take a third of the memory.

    Args:
        model: all of Janus; loses what is not used.
        processor: its tokenizer and chat template.
    """

    def __init__(self, model: JanusForConditionalGeneration, processor: JanusProcessor) -> None:
        super().__init__()
        vision: Any = model.config.vision_config
        self.num_codes = int(vision.num_image_tokens)
        whole = model.model
        self.language_model, self.head = whole.language_model, whole.generation_head
        self.embedding, self.aligner = whole.generation_embeddings, whole.generation_aligner
        self.vqmodel: Any = whole.vqmodel
        del self.vqmodel.encoder, self.vqmodel.quant_conv
        self.processor: Any = processor
        self.grid = int(self.vqmodel.quantize.quant_state_dims[0])

    @property
    def codes(self) -> int:
        """Image tokens that there are."""
        return int(self.vqmodel.quantize.num_embeddings)

    @property
    def width(self) -> int:
        """Width of the language model's states."""
        return int(self.language_model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.head.vision_head.weight.device

    def text_ids(self, text: str) -> Tensor:
        """Ids of an empty prompt and of ``text``, (2, T) int64, up to the start of the picture."""
        tokenizer = self.processor.tokenizer
        message = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        if getattr(self.processor, "chat_template", None):
            prompt = self.processor.apply_chat_template(message, add_generation_prompt=True,
                                                        tokenize=False)
        else:
            prompt = PLAIN_PROMPT.format(text)
        ids = self.processor(text=prompt, generation_mode="image",
                             return_tensors="pt")["input_ids"][0]
        start = tokenizer.convert_tokens_to_ids(self.processor.image_start_token)
        kept = (ids == tokenizer.bos_token_id) | (ids == start)
        return torch.stack([torch.where(kept, ids, tokenizer.pad_token_id), ids])

    def begin(self, text: str, num_images: int, guided: bool, negative: str = "") -> JanusState:
        """See ``CodeWriter.begin``; the prompt is read by the first call of ``score``.

        Rows without a caption are as long as those with it, which no other text is: ``negative``
        is of no effect.
        """
        ids = self.text_ids(text).to(self.device)
        ids = (ids if guided else ids[1:]).repeat_interleave(num_images, dim=0)
        cache = StaticCache(config=self.language_model.config,
                            max_cache_len=ids.shape[1] + self.num_codes)
        return JanusState(len(ids), cache, ids)

    def score(self, state: JanusState, codes: Tensor | None) -> Tensor:
        """See ``CodeWriter.score``."""
        if codes is None:
            embeddings = self.language_model.get_input_embeddings()(state.prompt)
            state.prompt = None
        else:
            tokens = codes.repeat(state.rows // len(codes))[:, None]
            embeddings = self.aligner(self.embedding(tokens))
        found = self.language_model(inputs_embeds=embeddings, past_key_values=state.cache,
                                    use_cache=True)
        return self.head(found.last_hidden_state[:, -1])

    def draw(self, codes: Sequence[Tensor]) -> Tensor:
        """See ``CodeWriter.draw``."""
        written = torch.stack(list(codes), dim=1)
        missing = self.num_codes - written.shape[1]
        pixels = self.vqmodel.decode(nn.functional.pad(written, (0, missing)))
        if not missing:
            return pixels
        blank = torch.arange(self.num_codes, device=pixels.device) >= written.shape[1]
        scale = pixels.shape[-1] // self.grid
        mask = blank.view(self.grid, self.grid)
        mask = mask.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        return pixels.masked_fill(mask, 0)
