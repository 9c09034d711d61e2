"""What every network is: a map from (noisy sound, time, conditions) to a prediction, for certain lengths."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Network(nn.Module):
    """Every legal length is a multiple of `multiple`."""

    multiple: int = 1
    recompute: bool = False  # keep little for the way back, and compute it once more there; see `step`

    def check_length(self, length: int) -> None:
        """Raises ValueError, with the nearest legal lengths, where the network does not divide the length."""
        whole, rest = divmod(length, self.multiple)
        if rest or whole < 1:
            legal = [count * self.multiple for count in (whole, whole + 1) if count > 0]
            choices = " or ".join(map(str, legal))
            raise ValueError(f"length {length} is not a multiple of {self.multiple}: use {choices}")

    def step(self, function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """A part of the forward pass, of which `recompute` keeps the inputs alone; gradients stay bit-equal."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
        return function(*inputs)
