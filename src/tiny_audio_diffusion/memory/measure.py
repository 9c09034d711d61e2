"""How much memory a call takes, in bytes of tensors: what a CUDA allocator counts, and the same for a CPU.

On a CPU, torch's profiler writes down every allocation and release with its time, whoever asked for it: layers, the
insides of an operation, compiled code. Their running sum is the memory in use.
"""

import gc
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Usage:
    """Bytes of tensors around one call."""

    before: int  # there already when it began
    added: int  # by it, at its highest
    kept: int  # of these, still there when it ended; below 0 on CUDA where it released older ones

    @property
    def peak(self) -> int:
        """All bytes at the highest; on a CPU those from before count to the end, even if the call releases them."""
        return self.before + self.added


def peak(step: Callable[[], object], device: torch.device | str = "cpu") -> Usage:
    """What calling `step` once takes on a device."""
    device = torch.device(device)
    if device.type == "cuda":
        return _on_cuda(step, device)
    if device.type == "cpu":
        return _on_cpu(step)
    raise ValueError(f"memory is measured on cpu and cuda, not on {device.type}")


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors, once each where several share them."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def _on_cuda(step: Callable[[], object], device: torch.device) -> Usage:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    after, highest = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return Usage(before, highest - before, after - before)


def _on_cpu(step: Callable[[], object]) -> Usage:
    gc.collect()  # what nobody holds any more should neither count as there nor be released in between
    before = size(_reachable("cpu"))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]) for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda change: change[0])
    in_use = list(accumulate((args["Bytes"] for _, args in changes if args["Device Type"] == 0), initial=0))
    return Usage(before, max(in_use), in_use[-1])


def _reachable(device: str) -> Iterable[Tensor]:
    """All tensors that Python objects hold, and their gradients."""
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor) and thing.device.type == device and thing.layout == torch.strided:
            yield thing
            if thing.is_leaf and thing.grad is not None:
                yield thing.grad
