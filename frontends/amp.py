"""`adjit.amp`: mixed precision, as scripts write it.

`autocast("cpu")` computes products in bfloat16 or float16; for a CUDA device, of which there is none, it is disabled as
in PyTorch.  `GradScaler` scales as PyTorch's does where it is enabled for the CPU, and is disabled for CUDA.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from adjit import trees
from adjit.autograd.modes import no_grad
from adjit.device import device as _device
from adjit.dtypes import bfloat16, float16, public, to_ir
from adjit.ir.types import BF16, F16, F64, DType
from adjit.module_names import modules_of
from adjit.state import STATE, epoch_here
from adjit.tensor import Tensor

__all__ = [
    "GradScaler", "autocast", "clear_autocast_cache", "custom_bwd", "custom_fwd", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "is_autocast_available", "is_autocast_cpu_enabled", "is_autocast_enabled",
    "set_autocast_dtype",
]  # fmt: skip

_NO_CUDA = "CUDA is not available or torch_xla is imported. Disabling autocast."
_NO_DTYPE = (
    "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
    "CPU Autocast only supports dtype of torch.bfloat16, torch.float16 currently."
)


class autocast:
    """A context, also a decorator, in which products and convolutions take their operands in lower precision.

    >>> import adjit as torch
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     y = torch.ones(2, 2) @ torch.ones(2, 2)
    >>> y.dtype
    torch.bfloat16
    """

    def __init__(
        self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = _device(device_type).type
        self.fast_dtype = get_autocast_dtype(self.device) if dtype is None else dtype
        if enabled and self.device == "cuda":
            warnings.warn(_NO_CUDA, UserWarning, stacklevel=2)
            enabled = False
        elif enabled and to_ir(self.fast_dtype) not in (BF16, F16):
            warnings.warn(_NO_DTYPE, UserWarning, stacklevel=2)
            enabled = False
        self._enabled = enabled
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        self._before.append(STATE.autocast)
        if self.device == "cpu":
            _switch(to_ir(self.fast_dtype) if self._enabled else None)
        return self

    def __exit__(self, *exception: object) -> None:
        _switch(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return called


def _switch(dtype: DType | None) -> None:
    """Compute products in a dtype from here on, or in that of their operands."""
    if STATE.autocast is dtype:
        return
    if dtype is not None:
        from adjit.autocasting import place

        place()
    STATE.autocast = dtype
    epoch_here()


class _Chosen:
    cpu: Any = bfloat16


def is_autocast_available(device_type: str) -> bool:
    """Whether there is autocast for a device: for the CPU."""
    return _device(device_type).type == "cpu"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a device."""
    return _device(device_type).type == "cpu" and STATE.autocast is not None


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU."""
    return STATE.autocast is not None


def get_autocast_dtype(device_type: str) -> Any:
    """The dtype that autocast takes on a device where none is given."""
    if _device(device_type).type == "cpu":
        return _Chosen.cpu if STATE.autocast is None else public(STATE.autocast)
    return float16


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Choose the dtype that autocast takes on the CPU where none is given."""
    if _device(device_type).type == "cpu":
        _Chosen.cpu = dtype


def get_autocast_cpu_dtype() -> Any:
    """`get_autocast_dtype("cpu")`."""
    return get_autocast_dtype("cpu")


def clear_autocast_cache() -> None:
    """Nothing: casts are not kept."""


def _device_type(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    return device_type


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """The forward of an `autograd.Function`, whose backward is to compute as it does.

    With `cast_inputs`, where autocast is on, it computes without, on floating point tensors of that dtype.
    """
    _device_type(device_type)
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast_dtype = get_autocast_dtype(device_type)
        enabled = is_autocast_enabled(device_type)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if not enabled or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            args, kwargs = trees.mapped(lambda leaf: _cast(leaf, cast_inputs), (args, kwargs), none_is_leaf=True)
            return fwd(ctx, *args, **kwargs)

    return forward


def _cast(leaf: Any, dtype: Any) -> Any:
    """A floating point tensor in another dtype, but float64 as it is; all else as it is."""
    casts = isinstance(leaf, Tensor) and leaf._dtype.is_float and leaf._dtype is not F64
    return leaf.to(dtype) if casts else leaf


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """The backward of an `autograd.Function`, which computes under the autocast of its `custom_fwd`."""
    _device_type(device_type)
    if bwd is None:
        return partial(custom_bwd, device_type=device_type)

    @wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._autocast_dtype):
            return bwd(ctx, *args, **kwargs)

    return backward


class GradScaler:
    """Scales a loss so that small gradients survive in low precision; skips steps whose gradients overflow.

    The scale shrinks by `backoff_factor` after an overflow, and grows by `growth_factor` after `growth_interval` steps
    without one.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        self._device = _device(device).type
        if enabled and self._device == "cuda":
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                UserWarning,
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        if enabled and not growth_factor > 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and not backoff_factor < 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._scale = init_scale
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._found: dict[int, bool] = {}  # by optimizer: whether its gradients, freed of the scale, are not finite
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """The loss, or several in a list or tuple, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(output) for output in outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, once between two updates."""
        if not self._enabled:
            return
        if id(optimizer) in self._stepped:
            raise RuntimeError("unscale_() is being called after step().")
        if id(optimizer) in self._found:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        found = False
        with no_grad():
            for param in (param for group in optimizer.param_groups for param in group["params"]):
                if param.grad is not None:
                    param.grad.mul_(1.0 / self._scale)
                    found = found or not bool(param.grad.isfinite().all())
        self._found[id(optimizer)] = found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step()`, unless a gradient is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if id(optimizer) in self._stepped:
            raise RuntimeError("step() has already been called since the last update().")
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Set the scale for the next step, from what was found or to `new_scale`."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = new_scale.item() if isinstance(new_scale, Tensor) else float(new_scale)
        elif not self._found:
            raise AssertionError("No inf checks were recorded prior to update.")
        elif any(self._found.values()):
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale *= self._growth_factor
                self._growth_tracker = 0
        self._found.clear()
        self._stepped.clear()

    def get_scale(self) -> float:
        """The scale; 1 where disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff_factor

    def get_growth_interval(self) -> int:
        """The steps without overflow before the scale grows."""
        return self._growth_interval

    def is_enabled(self) -> bool:
        """Whether the loss is scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and counts; empty where disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]


_GIVEN: dict[str, dict[str, Any]] = {
    "autocast_mode": {"autocast": autocast, "custom_bwd": custom_bwd, "custom_fwd": custom_fwd,
                      "is_autocast_available": is_autocast_available},
    "grad_scaler": {"GradScaler": GradScaler},
}  # fmt: skip
autocast_mode, grad_scaler = modules_of(__name__, _GIVEN).values()
