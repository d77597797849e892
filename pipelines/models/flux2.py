"""FLUX.2 [klein]'s parts: a language model that reads the prompt, a transformer that follows a flow
from noise to latents, and the decoder of a variational autoencoder.

Source: Black Forest Labs, "FLUX.2 [klein]" (2026), distilled to four steps without guidance; Esser
et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (2024), section 2.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers import Flux2KleinPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen3Model

from pipelines.models.offload import weights_at_hand
from pipelines.models.parts import Part, ScheduledPart

READ_LAYERS = (9, 18, 27)  # of the language model, whose states are what is read
MAX_TOKENS = 512  # of a prompt with its template; shorter ones are filled up


class Reader(Part):
    """The language model, without what follows the last layer that is read."""

    def __init__(self, model: Qwen3Model, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Width of its states."""
        return int(self.config.hidden_size)

    def read(self, text: str) -> Tensor:
        """States (1, MAX_TOKENS, layers · D) of a prompt."""
        # The pipeline's own method, so that prompts are read as it reads them.
        return Flux2KleinPipeline._get_qwen3_prompt_embeds(
            self.model, cast(Any, self.tokenizer), text,
            device=self.device, max_sequence_length=MAX_TOKENS,
            hidden_states_layers=list(READ_LAYERS))


class Flow(ScheduledPart):
    """The transformer, with the schedule of its steps."""

    @property
    def channels(self) -> int:
        """Of a token of the picture."""
        return int(self.config.in_channels)

    def scheduler(self, steps: int, tokens: int) -> Any:
        """A schedule of its own for a run over so many tokens of a picture."""
        scheduler = self.new_scheduler(sigmas=np.linspace(1.0, 1 / steps, steps),
                                       mu=compute_empirical_mu(tokens, steps))
        scheduler.set_begin_index(0)
        return scheduler

    def velocity(self, latents: Tensor, time: Tensor, states: Tensor, shape: tuple[int, int],
                 ) -> Tensor:
        """Where latents move to.

        Args:
            latents: (N, h · w, channels).
            time: scalar, of the scheduler.
            states: (N, T, D) of ``Reader``.
            shape: h and w.

        Returns:
            (N, h · w, channels), from the picture to the noise.
        """
        grid = torch.cartesian_prod(torch.arange(1), torch.arange(shape[0]),
                                    torch.arange(shape[1]), torch.arange(1))
        words = torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1),
                                     torch.arange(states.shape[1]))
        places = (each.to(latents.device).expand(len(latents), -1, -1) for each in (grid, words))
        img_ids, txt_ids = places
        return self.model(
            hidden_states=latents.to(self.model.dtype),
            timestep=time.expand(len(latents)).to(latents.dtype) / 1000, guidance=None,
            encoder_hidden_states=states, txt_ids=txt_ids, img_ids=img_ids, return_dict=False)[0]


class Autoencoder(Part):
    """Latents to pixels."""

    @property
    def scale(self) -> int:
        """Pixels along one side of a token, which is four latents."""
        return 2 ** len(self.config.block_out_channels)

    def decode(self, latents: Tensor, shape: tuple[int, int]) -> Tensor:
        """Pictures (N, 3, H, W), about [-1, 1], of latents (N, h · w, channels) of a shape (h, w).
        """
        latents = latents.transpose(1, 2).unflatten(2, shape)
        with weights_at_hand(self.model.bn):
            mean, variance = (cast(Tensor, each).view(1, -1, 1, 1) for each in (
                self.model.bn.running_mean, self.model.bn.running_var))
            std = torch.sqrt(variance + self.config.batch_norm_eps).to(latents)
            latents = latents * std + mean.to(latents)
        latents = Flux2KleinPipeline._unpatchify_latents(latents)
        latents = latents.to(self.device, self.model.dtype)
        # Annotated for float32 alone, though it takes any dtype.
        return self.model.decode(cast(torch.FloatTensor, latents), return_dict=False)[0]
