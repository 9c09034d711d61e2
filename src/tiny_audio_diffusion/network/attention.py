"""Attention of positions to each other, in the way that is fastest on the device."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiny_audio_diffusion.network.layout import multiplies, product

# Below, the heads one after the other cost more in calls than they save. Milliseconds for 8 heads of 64 features on two
# cores of an AMD EPYC, ours against torch's fused kernel, forward | forward and backward:
#   tokens      float32               bfloat16
#   1024     7.8 : 12.2            5.0 : 12.5
#    512     2.1 :  3.2            1.4 :  3.4
#    256     0.7 :  0.8            0.5 :  0.8
LEAST_SCORES = 256 * 256


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query keyᵀ / √features) value, for each of the heads: [B, heads, N, features]."""
    scores = query.shape[-2] * key.shape[-2]
    plain = query.dtype in (torch.float32, torch.bfloat16)
    if plain and scores >= LEAST_SCORES and multiplies(query):
        return HeadByHead.apply(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


class HeadByHead(torch.autograd.Function):
    """Attention for CPUs: the scores of one head at a time, which stay in the cache, and oneDNN for every product.

    Keeps no scores for the way back, as the fused kernels of GPUs; they are computed once more there.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        result = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[3]).transpose(1, 2)
        for place in _heads(query):
            shares = _shares(query[place], key[place])
            result[place] = product(shares, value[place].T)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors
        to_query, to_key, to_value = (torch.empty_like(each) for each in (query, key, value))
        scale = query.shape[-1] ** -0.5
        for place in _heads(query):
            shares = _shares(query[place], key[place])
            to_value[place] = product(shares.T, gradient[place].T)
            # of the scores: shares * (change - sum(shares * change)), the sum over the keys
            change = product(gradient[place], value[place])
            change = torch._softmax_backward_data(change, shares, -1, shares.dtype)
            to_query[place] = product(change, key[place].T).mul_(scale)
            to_key[place] = product(change.T, query[place].T).mul_(scale)
        return to_query, to_key, to_value


def _heads(query: Tensor) -> list[tuple[int, int]]:
    """The places of all heads of all items."""
    return [(item, head) for item in range(query.shape[0]) for head in range(query.shape[1])]


def _shares(query: Tensor, key: Tensor) -> Tensor:
    """How much each query [N, features] takes of each key [M, features]: [N, M]."""
    scores = product(query * query.shape[-1] ** -0.5, key)
    return torch.softmax(scores, dim=-1, out=scores)
