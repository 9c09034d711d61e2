"""Who follows the work while sounds are made: nobody, a progress bar, or whoever writes each sound as it comes."""

from torch import Tensor
from tqdm import tqdm


class Watch:
    """Is told what is going on; this one does nothing with it."""

    def begin(self, evaluations: int) -> None:
        """So many evaluations of the network lie ahead, counted for each sound."""

    def evaluated(self, sounds: int) -> None:
        """The network has been evaluated once for each of so many sounds."""

    def made(self, sounds: Tensor) -> None:
        """These sounds [n, C, L] are done; they come in order."""


class Bar(Watch):
    """A progress bar on the terminal."""

    def __init__(self, title: str):
        self.title = title
        self.bar: tqdm | None = None

    def begin(self, evaluations: int) -> None:
        self.bar = tqdm(total=evaluations, desc=self.title, unit="step", dynamic_ncols=True)

    def evaluated(self, sounds: int) -> None:
        assert self.bar is not None
        self.bar.update(sounds)
        if self.bar.n >= self.bar.total:
            self.bar.close()
