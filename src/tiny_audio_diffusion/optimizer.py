"""AdamW whose moments take a quarter of the memory: bytes instead of float32."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim import Optimizer

BLOCK = 256  # numbers that share a scale
LEAST = 4096  # smaller tensors keep float32: together they are little, and norms are sensitive


class AdamW8bit(Optimizer):
    """torch's AdamW with quantised moments; the update is computed in float32, one tensor after the other.

    A number is stored as the share of the largest in its block. Both codes are finer near zero, where most numbers
    are: roots of the share, the square root for the first moment and the fourth root for the second, which is made of
    squares.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        first, second = (_read(state, name, parameter, roots) for name, roots in ROOTS.items())
        beta, beta_of_squares = group["betas"]
        state["step"] = step = state.get("step", 0) + 1
        first.lerp_(gradient, 1 - beta)
        second.mul_(beta_of_squares).addcmul_(gradient, gradient, value=1 - beta_of_squares)
        for (name, roots), moment in zip(ROOTS.items(), (first, second), strict=True):
            _write(state, name, moment, roots)
        divisor = second.div_(1 - beta_of_squares**step).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(first, divisor, value=-group["lr"] / (1 - beta**step))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch brings all of a state to the type of the weights; bytes are to stay bytes."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for name in ROOTS:
                if f"{name}_scale" in state:
                    state[name] = state[name].to(torch.int8 if name == "exp_avg" else torch.uint8)


ROOTS = {"exp_avg": 1, "exp_avg_sq": 2}  # square roots before the code; the names are those of torch's Adam


def _read(state: dict[str, Any], name: str, like: Tensor, roots: int) -> Tensor:
    """A moment as float32, zeros before the first step."""
    if name not in state:
        return torch.zeros_like(like, dtype=torch.float32)
    if f"{name}_scale" not in state:
        return state[name]
    return decode(state[name], state[f"{name}_scale"], roots)[: like.numel()].view(like.shape)


def _write(state: dict[str, Any], name: str, moment: Tensor, roots: int) -> None:
    if moment.numel() < LEAST:
        state[name] = moment.clone()
    else:
        state[name], state[f"{name}_scale"] = encode(moment, roots, signed=name == "exp_avg")


def encode(values: Tensor, roots: int, *, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes [blocks, BLOCK] and the largest magnitude of each block; |value| = scale * (|code| / most)^(2^roots)."""
    blocks = pad(values.flatten(), (0, -values.numel() % BLOCK)).view(-1, BLOCK)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    share = (blocks / scale.clamp_min(torch.finfo(scale.dtype).tiny)).abs_()
    for _ in range(roots):
        share.sqrt_()
    if signed:
        return share.mul_(127).round_().copysign_(blocks).to(torch.int8), scale
    return share.mul_(255).round_().to(torch.uint8), scale


def decode(codes: Tensor, scale: Tensor, roots: int) -> Tensor:
    """What `encode` was given, flat and with the last block filled up."""
    share = codes.to(scale.dtype).div_(127 if codes.dtype == torch.int8 else 255)
    sign = share.sign() if codes.dtype == torch.int8 else 1
    for _ in range(roots):
        share.square_()
    return share.mul_(scale * sign).flatten()
