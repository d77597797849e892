"""What replaces slow layers gives the same results and the same gradients."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from taming.modules.diffusionmodules.model import Decoder
from torch import Tensor, nn

from pipelines.models import clip, fast_clip, fast_vqgan
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.clip import ClipModel
from tests.test_open_clip_checkpoints import SMALL


def randomised(module: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        for parameter in module.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
    return module.eval().requires_grad_(False)


def small_decoder() -> nn.Module:
    with contextlib.redirect_stdout(io.StringIO()):
        return randomised(Decoder(ch=32, out_ch=3, ch_mult=(1, 2), num_res_blocks=1,
                                  attn_resolutions=[8], in_channels=3, resolution=16,
                                  z_channels=8))


def value_and_gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    found = module(x)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((found.float() * weights).sum(), x)
    return found.detach(), gradient


@pytest.mark.parametrize("batch", [1, 3])
def test_a_decoder_and_its_gradient_stay_the_same(batch: int, generator: torch.Generator) -> None:
    plain = small_decoder()
    fast = fast_vqgan.with_fast_kernels(copy.deepcopy(plain))
    assert not any(type(m).__name__ in ("ResnetBlock", "Decoder") for m in fast.modules())
    assert fast.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(batch, 8, 8, 8, generator=generator)
    for found, expected in zip(value_and_gradient(fast, x), value_and_gradient(plain, x),
                               strict=True):
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
        assert expected.abs().max() > 0.01
    with torch.no_grad():
        assert torch.allclose(fast(x), plain(x), atol=1e-4)


def test_norm_and_swish_have_the_right_gradient(generator: torch.Generator) -> None:
    x = torch.randn(2, 8, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: fast_vqgan.NormSwish.apply(x, weight, bias, 4, 1e-6), (x,), atol=1e-4)
    expected = F.silu(F.group_norm(x, 4, weight, bias, 1e-6))
    found = fast_vqgan.NormSwish.apply(x, weight, bias, 4, 1e-6)
    assert isinstance(found, Tensor)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(("side", "cached"), [(5, 40), (4, 8), (3, 10**6)])
def test_small_parts_give_the_gradient_of_the_whole(
        monkeypatch: pytest.MonkeyPatch, generator: torch.Generator, side: int, cached: int,
        ) -> None:
    monkeypatch.setattr(fast_vqgan, "CACHED", cached)
    x = torch.randn(2, 8, side, side + 1, generator=generator)
    weight, bias = torch.randn(2, 8, generator=generator)
    found = Function(lambda x: fast_vqgan.NormSwish.apply(x, weight, bias, 4, 1e-6))
    expected = Function(lambda x: F.silu(F.group_norm(x, 4, weight, bias, 1e-6)))
    for one, other in zip(value_and_gradient(found, x), value_and_gradient(expected, x),
                          strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7])
def test_written_out_attention_and_its_gradients(rows: int, generator: torch.Generator) -> None:
    q = torch.randn(2, 3, rows, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 3, 7, 8, generator=generator, dtype=torch.float64, requires_grad=True)
            for _ in range(2))
    found, expected = fast_clip.attend(q, k, v), F.scaled_dot_product_attention(q, k, v)
    assert type(found.grad_fn).__name__ != type(expected.grad_fn).__name__
    assert torch.allclose(found, expected)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(*(torch.autograd.grad((each * weights).sum(), (q, k, v))
                            for each in (found, expected)), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize(("written", "limit"), [(True, 7), (False, 6)])
def test_long_rows_of_tokens_keep_no_weights(
        monkeypatch: pytest.MonkeyPatch, written: bool, limit: int) -> None:
    monkeypatch.setattr(fast_clip, "MOST_TOKENS", limit)
    q = torch.zeros(1, 1, 7, 8, requires_grad=True)
    found = fast_clip.attend(q, q, q)
    assert found.grad_fn is not None
    names = [type(found.grad_fn).__name__, type(found.grad_fn.next_functions[0][0]).__name__]
    assert any("WrittenOut" in name for name in names) == written


@pytest.mark.parametrize(("pool", "replaced"), [("tok", True), ("avg", False)])
def test_the_last_block_computes_the_class_token_alone(
        pool: str, replaced: bool, generator: torch.Generator) -> None:
    config = SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"pool_type": pool}}
    plain: Any = randomised(open_clip.CLIP(**config))
    fast: Any = fast_clip.with_fast_kernels(copy.deepcopy(plain))
    last = fast.visual.transformer.resblocks[-1]
    assert isinstance(last, fast_clip.LastBlock) == replaced
    x = torch.rand(3, 3, 32, 32, generator=generator)
    for found, expected in zip(value_and_gradient(fast.visual, x),
                               value_and_gradient(plain.visual, x), strict=True):
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        assert torch.allclose(fast.visual(x), plain.visual(x), atol=1e-4)
        half = fast.visual.bfloat16()(x.bfloat16()).float()
        assert torch.nn.functional.cosine_similarity(half, plain.visual(x)).min() > 0.99


@pytest.mark.parametrize("causal", [True, False])
def test_a_clip_and_its_gradient_stay_the_same(causal: bool, generator: torch.Generator) -> None:
    config = SMALL | {"text_cfg": SMALL["text_cfg"] | {"no_causal_mask": not causal}}
    plain = randomised(open_clip.CLIP(**config))
    assert isinstance(plain, open_clip.CLIP)
    fast = fast_clip.with_fast_kernels(copy.deepcopy(plain))
    assert not any(isinstance(m, nn.MultiheadAttention) for m in fast.modules())
    assert fast.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, 32, 32, generator=generator)
    for found, expected in zip(value_and_gradient(fast.visual, x),
                               value_and_gradient(plain.visual, x), strict=True):
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    ids = open_clip.SimpleTokenizer()(["a red apple", "a worm"])
    assert torch.allclose(fast.encode_text(ids), plain.encode_text(ids), atol=1e-4)


@pytest.mark.parametrize("name", ["embedded/clip-guide", "embedded/clip-narrow"])
def test_embedded_clips_are_hastened_and_see_the_same(name: str, generator: torch.Generator,
                                                      ) -> None:
    catalogue = Catalogue.load()
    entry = catalogue.get(name)
    fast = load_model(catalogue, entry)
    assert isinstance(fast, ClipModel)
    assert any(isinstance(part, fast_clip.SelfAttention) for part in fast.module.modules())
    config = json.loads((catalogue.folder(entry) / "config.json").read_text())["config"]
    plain = clip.build(config)
    plain.load_state_dict(fast.module.state_dict())
    slow = ClipModel(plain.eval().requires_grad_(False), fast.tokenizer, fast.image_size,
                     fast.mean, fast.std)
    pixels = torch.rand(2, 3, fast.image_size, fast.image_size, generator=generator)
    (found, gradient), (expected, wanted) = (
        value_and_gradient(Looking(model), pixels) for model in (fast, slow))
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert wanted.abs().max() > 1e-4
    texts = ["a red apple under two blue cars"]
    with torch.no_grad():
        assert torch.allclose(fast.encode_text(texts), slow.encode_text(texts), atol=1e-5)


class Function(nn.Module):
    """A function as a module's forward."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = function


class Looking(nn.Module):
    """A CLIP's view of pictures as a module's forward."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)
