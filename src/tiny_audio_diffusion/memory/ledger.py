"""Every block of memory that tensors take, from its birth to its death: an allocator's account without an allocator."""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tiny_audio_diffusion.memory.pretence import answer

FOREVER = 1 << 62
FORWARD, BACKWARD = "forward pass", "backward pass"


@dataclass(eq=False)
class Block:
    """Bytes that one storage takes, by the ledger's clock."""

    size: int
    birth: int
    death: int = FOREVER
    kind: str = ""  # what it holds, for those that outlive a step


class Ledger(TorchDispatchMode):
    """Inside, births and deaths of storages are written down; the clock counts them."""

    def __init__(self, *, rounding: int = 1) -> None:
        super().__init__()
        self.rounding = rounding  # an allocator's smallest unit
        self.blocks: list[Block] = []
        self.alive: dict[int, Block] = {}
        self.clock, self.asked = 0, 0
        self.phases: list[tuple[int, str]] = [(0, "start")]  # each with the time at which it began

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return self._value(function, args[0])
        if function.namespace == "aten" and function._can_decompose():  # in inference mode these arrive whole
            with self:
                return function.decompose(*args, **(kwargs or {}))
        if _fills(function, args):
            return args[0]
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    def begin(self, phase: str) -> None:
        """From now on it is another phase."""
        self.phases.append((self.clock, phase))

    def tag(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Say what the storages of these tensors hold, unless that is known."""
        for tensor in tensors:
            block = self.alive.get(tensor.untyped_storage()._cdata)
            if block is not None and not block.kind:
                block.kind = kind

    def highest(self, *, without: Iterable[str] = ()) -> dict[str, tuple[int, int]]:
        """The highest sum of each phase and the time of it, not counting blocks of some kinds."""
        changes = []
        for block in self.blocks:
            if block.kind not in without:
                changes += [(block.birth, block.size), (block.death, -block.size)]
        index, in_use = 0, 0
        highest: dict[str, tuple[int, int]] = {}
        for clock, size in sorted(changes):
            while index + 1 < len(self.phases) and self.phases[index + 1][0] < clock:
                index += 1
                began, name = self.phases[index]
                highest[name] = max(highest.get(name, (0, 0)), (in_use, began))
            in_use += size
            if clock < FOREVER:
                name = self.phases[index][1]
                highest[name] = max(highest.get(name, (0, 0)), (in_use, clock))
        return highest

    def held(self, clock: int) -> list[Block]:
        """The blocks that were there at a time."""
        return [block for block in self.blocks if block.birth <= clock < block.death]

    def forward_end(self, clock: int) -> int | None:
        """When the forward pass ended to which a time belongs, or its backward pass; None outside of both."""
        began = [(time, name) for time, name in self.phases if time < clock]
        if began and began[-1][1] == BACKWARD:
            return began[-1][0]
        if began and began[-1][1] == FORWARD:
            return next((time for time, name in self.phases if name == BACKWARD and time >= clock), None)
        return None

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.alive:
            self.clock += 1
            size = -(-storage.nbytes() // self.rounding) * self.rounding
            block = Block(size, self.clock)
            self.blocks.append(block)
            self.alive[storage._cdata] = block
            weakref.finalize(storage, self._bury, storage._cdata).atexit = False

    def _bury(self, key: int) -> None:
        self.clock += 1
        self.alive.pop(key).death = self.clock

    def _value(self, function: Callable[..., Any], tensor: Tensor) -> Any:
        """A number out of a tensor, which a constant has and any other lacks."""
        try:
            return function(tensor)
        except DataDependentOutputException:
            self.asked += 1
            return answer(tensor, self.asked)


def _fills(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation changes nothing but the content of its first argument, of which there is none."""
    name = function._schema.name
    return (
        name.endswith("_")
        and not name.startswith("aten::_")
        and torch.Tag.inplace_view not in function.tags
        and name not in ("aten::resize_", "aten::set_")
        and isinstance(args[0], FakeTensor)
        and args[0].constant is None
    )
