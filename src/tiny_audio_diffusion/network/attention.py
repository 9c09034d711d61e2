"""Attention of positions to each other, in the way that is fastest on the device."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tiny_audio_diffusion.network.layout import multiplies, product

# Scores of a head, [queries, keys], from which on one head after the other is faster than torch's fused kernel. In
# milliseconds for 8 heads of 64 features on two cores of an AMD EPYC, ours : fused,
#            float32                          bfloat16
#   tokens   forward       and backward       forward       and backward
#   1024     8.6 : 12.9    50.8 : 44.7        5.1 : 12.9    19.9 : 32.6
#    512     3.0 : 3.4     11.4 : 11.9        1.6 : 3.4      5.3 : 9.9
#    256     1.2 : 0.9      4.1 : 3.1         0.7 : 0.9      2.5 : 3.1
LEAST_SCORES = {torch.float32: 512**2, torch.bfloat16: 256**2}


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query keyᵀ / √features) value, for each of the heads: [B, heads, N, features]."""
    least = LEAST_SCORES.get(query.dtype)
    if least is None or query.shape[-2] * key.shape[-2] < least or not multiplies(query):
        return F.scaled_dot_product_attention(query, key, value)
    if query.dtype == torch.float32 and torch.is_grad_enabled():  # its way back is the slower one
        return F.scaled_dot_product_attention(query, key, value)
    return HeadByHead.apply(query, key, value)


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
            to_value[place] = shares.T @ gradient[place]  # as a `product` it would take a transposed copy
            # of the scores: shares * (change - sum(shares * change)), the sum over the keys
            change = product(gradient[place], value[place])
            change = torch._softmax_backward_data(change, shares, -1, shares.dtype)
            to_query[place] = product(change, key[place].T).mul_(scale)
            to_key[place] = (change.T @ query[place]).mul_(scale)
        return to_query, to_key, to_value


def _heads(query: Tensor) -> list[tuple[int, int]]:
    """The places of all heads of all items."""
    return [(item, head) for item in range(query.shape[0]) for head in range(query.shape[1])]


def _shares(query: Tensor, key: Tensor) -> Tensor:
    """How much each query [N, features] takes of each key [M, features]: [N, M]."""
    scores = product(query * query.shape[-1] ** -0.5, key)
    return torch.softmax(scores, dim=-1, out=scores)
