"""A picture tower that begins as a plain code of patches, whose gradient is the picture itself.

The gradient of a similarity can only draw what the picture tower's Jacobian spans evenly. A tower
of random weights that is trained by its gradient has a few strong directions, colours and coarse
places, and hundreds of weak ones, so that it draws blobs even where the target is a picture's own
embedding. Here the tower begins with an orthonormal code: the principal components of each patch,
one patch a head of the pooling, beside a constant which fixes the scale that a cosine leaves open.
The similarity with a picture's own embedding is then largest at that picture and nowhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import AttentionalPooler, VisionTransformer
from torch import Tensor

CONTENT_SCALE = 0.05  # of pixel differences in a token, whose place has length PLACE_LENGTH
PLACE_LENGTH = 10.0  # much longer than the content, so that layer norms hardly bend it
CONSTANT = 0.4
HEAD_LOGIT = 16.0  # of a head's own patch; 0 for all others


def patches_of(pictures: Tensor, side: int) -> Tensor:
    """Patches (N · patches, 3 · side²) of pictures (N, 3, s, s), less white, for range [-1, 1]."""
    normalised = 2 * pictures - 2
    cut = normalised.unfold(2, side, side).unfold(3, side, side)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * side * side)


@torch.no_grad()
def begin_as_patch_code(visual: VisionTransformer, pictures: Tensor) -> None:
    """Set the weights of a picture tower with attentional pooling.

    Args:
        visual: one query; as many heads as patches; ``width`` at least one more than the patches
            and the numbers of a head together.
        pictures: (N, 3, s, s) float in [0, 1], from whose patches the components come.

    Raises:
        ValueError: if the tower is of another shape.
    """
    pool, places = visual.attn_pool, visual.positional_embedding
    if not isinstance(pool, AttentionalPooler) or len(pool.query) != 1:
        raise ValueError("the picture tower does not pool by one query")
    heads, (count, width) = pool.attn.num_heads, places.shape
    if heads != count - 1:
        raise ValueError(f"{heads} heads cannot look at {count - 1} patches, one each")
    numbers = pool.attn.embed_dim // heads
    if width < numbers + count:
        raise ValueError(f"a width of {width} cannot tell {count - 1} places apart")
    _, side = visual.patch_size
    basis = _components(patches_of(pictures, side), numbers - 1)
    visual.conv1.weight.zero_()
    visual.conv1.weight[: numbers - 1] = CONTENT_SCALE * basis.view(-1, 3, side, side)
    visual.class_embedding.zero_()
    codes = PLACE_LENGTH * torch.linalg.qr(torch.randn(width - numbers, count))[0].t()
    places.zero_()
    places[:, numbers:] = codes
    # White is nothing, and the constant is as strong as what is usually drawn on it.
    places[1:, : numbers - 1] = -CONTENT_SCALE * basis.sum(1)
    places[1:, numbers - 1] = CONSTANT
    blocks: Any = visual.transformer.resblocks
    for block in blocks:
        for layer in (block.attn.out_proj, block.mlp.c_proj):
            layer.weight.zero_()
            layer.bias.zero_()
    _one_patch_each(pool, codes[1:], numbers, width)
    projection: Any = visual.proj
    projection.copy_(torch.eye(len(projection)))


def _components(patches: Tensor, count: int) -> Tensor:
    """The principal components (count, P) of patches (N, P), not centred: white is the origin."""
    _, vectors = torch.linalg.eigh(patches.t() @ patches)
    return vectors[:, -count:].flip(1).t()


def _one_patch_each(pool: AttentionalPooler, codes: Tensor, numbers: int, width: int) -> None:
    """Let head h attend to the token at place h and hand on its first ``numbers`` numbers."""
    attention, heads = pool.attn, len(codes)
    keys, values, queries = (attention.k_proj_weight, attention.v_proj_weight,
                             attention.q_proj_weight)
    assert keys is not None
    assert values is not None
    assert queries is not None
    for weight in (keys, values, queries, attention.in_proj_bias, attention.out_proj.bias):
        weight.zero_()
    first = torch.arange(heads) * numbers
    keys[first, numbers:] = codes / PLACE_LENGTH
    seen = width**0.5  # the length of a token after its layer norm
    attention.in_proj_bias[first] = HEAD_LOGIT * numbers**0.5 / seen
    for number in range(numbers):
        values[first + number, number] = 1.0
    attention.out_proj.weight.copy_(torch.eye(heads * numbers))
