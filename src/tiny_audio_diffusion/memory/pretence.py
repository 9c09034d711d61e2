"""Tensors that are not there: with shape and type but no memory, so that a whole training runs in seconds and in none.

torch's fake tensors are made for compilers. A training also copies modules, moves them and asks for numbers; here is
what they lack for that, and the choices that a GPU makes where they differ from a CPU's.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# What autocast computes in float32 on CUDA, though not on a CPU.
FULL_PRECISION = {
    *("group_norm", "layer_norm", "softmax", "log_softmax", "logsumexp", "norm", "cosine_similarity"),
    *("pow", "__pow__", "__rpow__", "square", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10"),
    *("softplus", "cumsum", "cumprod", "prod", "sum", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss"),
}

DEVICE: Any = vars(FakeTensor)["device"]
GO_BACK = torch.autograd._engine_run_backward


@contextlib.contextmanager
def pretend(device: str) -> Iterator[None]:
    """Inside, no tensor takes memory, and kernels are those of `device`, cpu or cuda, which need not be there.

    To torch all tensors are on the CPU: it cannot go back through a graph on a GPU that does not exist.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(FakeTensor, "__deepcopy__", _deepcopy))
        stack.enter_context(_replaced(nn.Module, "_apply", _apply))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        if device == "cuda":
            stack.enter_context(_replaced(FakeTensor, "device", property(_device)))
            stack.enter_context(_replaced(torch.autograd, "_engine_run_backward", OnCuda.go_back))
            stack.enter_context(OnCuda())
        yield


def answer(tensor: Tensor, asked: int) -> bool | float | int:
    """The value of a tensor that has none: true, so that everything is finite; numbers fall, as noise levels do."""
    if tensor.dtype == torch.bool:
        return True
    return 1 / (1 + asked) if tensor.dtype.is_floating_point else 1


class OnCuda(TorchFunctionMode):
    """What is asked of CUDA, done on the CPU, but with CUDA's fused attention and its lists of autocast."""

    @staticmethod
    def go_back(*values: Any, **options: Any) -> Any:
        """On the way back some of the forward pass may be computed once more; torch leaves the mode for it."""
        with OnCuda():
            return GO_BACK(*values, **options)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.device:  # which stands for itself
            return function(*args, **kwargs)
        args = tuple(_on_cpu(value) for value in args)
        kwargs = {name: _on_cpu(value) for name, value in kwargs.items()}
        if function is functional.scaled_dot_product_attention:
            return _attention(function, *args, **kwargs)
        if torch.is_autocast_enabled("cpu") and getattr(function, "__name__", "") in FULL_PRECISION:
            args = tuple(_full(value) for value in args)
            kwargs = {name: _full(value) for name, value in kwargs.items()}
        return function(*args, **kwargs)


def _attention(function: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Flash in half precision, memory-efficient in float32, where their conditions hold."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (each.to(torch.get_autocast_dtype("cpu")) for each in (query, key, value))
    backends, features = torch.backends.cuda, query.shape[-1]
    if options or features % 8:
        return function(query, key, value, **options)
    if query.dtype in (torch.float16, torch.bfloat16) and backends.flash_sdp_enabled() and features <= 256:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
    if backends.mem_efficient_sdp_enabled():
        remembers = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
        return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, remembers)[0]
    return torch.ops.aten._scaled_dot_product_attention_math(query, key, value)[0]


def _device(tensor: FakeTensor) -> torch.device:
    """What a tensor says about its place: the truth to torch, CUDA to all others, who may choose by it."""
    asking = sys._getframe(1).f_globals.get("__name__", "")
    return DEVICE.__get__(tensor) if asking.partition(".")[0] == "torch" else torch.device("cuda", 0)


def _on_cpu(value: Any) -> Any:
    """A device to make tensors on, or move them to, as torch may know it here."""
    is_cuda = (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.partition(":")[0] == "cuda"
    )
    return torch.device("cpu") if is_cuda else value


def _full(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def _deepcopy(tensor: FakeTensor, memo: dict[int, Any]) -> Tensor:
    """torch's own would copy the mode along."""
    with torch.no_grad():
        copied = tensor.clone()
    copied = nn.Parameter(copied) if isinstance(tensor, nn.Parameter) else copied
    memo[id(tensor)] = copied.requires_grad_(tensor.requires_grad)
    return copied


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Module.to and its like; torch's own would exchange the insides of fake tensors, which it then refuses."""
    for child in module.children() if recurse else ():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                changed = change(parameter)
            if changed is not parameter:
                module._parameters[name] = nn.Parameter(changed, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of a class or module that is another inside."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
