"""What every network is: a map from (noisy sound, time, conditions) to a prediction, for certain lengths."""

from torch import nn


class Network(nn.Module):
    """Every legal length is a multiple of `multiple`."""

    multiple: int = 1

    def check_length(self, length: int) -> None:
        """Raises ValueError, with the nearest legal lengths, where the network does not divide the length."""
        whole, rest = divmod(length, self.multiple)
        if rest or whole < 1:
            legal = [count * self.multiple for count in (whole, whole + 1) if count > 0]
            choices = " or ".join(map(str, legal))
            raise ValueError(f"length {length} is not a multiple of {self.multiple}: use {choices}")
