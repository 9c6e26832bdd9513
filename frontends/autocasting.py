"""Which functions compute in lower precision within `adjit.autocast("cpu")`, as PyTorch chooses on the CPU.

Products and convolutions take their operands in the lower precision, losses and decompositions in float32; all others
take them as they come.  The functions get their wrappers when the first such context is entered, and keep them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

from adjit.ir.types import BF16, F16, F32, DType
from adjit.state import STATE
from adjit.tensor import Tensor

_PRODUCTS = (
    "addbmm", "addmm", "baddbmm", "bmm", "chain_matmul", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "einsum", "inner", "matmul", "mm", "prelu", "tensordot",
)  # fmt: skip
_CONVOLUTIONS = tuple(name for name in _PRODUCTS if name.startswith("conv"))
# In the lower precision, by the module whose names they are.
_LOWER = {
    "": _PRODUCTS,
    "nn.functional": (
        "linear", "multi_head_attention_forward", "prelu", "scaled_dot_product_attention", *_CONVOLUTIONS,
    ),
    "linalg": ("matmul", "multi_dot", "vecdot"),
}
_SINGLE = {
    "": ("cdist", "cholesky", "inverse", "nanquantile", "pinverse", "prod", "quantile", "stft", "svd", "trace"),
    "nn.functional": (
        "avg_pool3d", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
        "cross_entropy", "ctc_loss", "grid_sample", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
        "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "nll_loss",
        "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
    ),
    "linalg": ("cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matrix_rank", "pinv", "qr", "slogdet",
               "solve", "svd", "svdvals"),
    "fft": ("fft", "fft2", "fftn", "ifft", "ifft2", "ifftn", "irfft", "rfft", "rfft2"),
}  # fmt: skip
# Their last products are in the lower precision, what comes before is not: by the module that defines them.
_INSIDE = {"cov": "statistics", "corrcoef": "statistics", "matrix_power": "linalg.functions"}
_METHODS_LOWER = ("__matmul__", "__rmatmul__", "addbmm", "addmm", "baddbmm", "bmm", "inner", "matmul", "mm", "prelu")
_METHODS_SINGLE = ("cholesky", "inverse", "nanquantile", "pinverse", "prod", "quantile", "stft", "svd", "trace")

_placed = False


def place() -> None:
    """Give the functions their wrappers, once."""
    global _placed
    if _placed:
        return
    _placed = True
    from adjit.native.install import function_behind, install

    install()  # first: native entries would take the wrappers for functions that never change
    wrappers: dict[int, Any] = {}
    for chosen, lower in ((_LOWER, True), (_SINGLE, False)):
        for path, names in chosen.items():
            module = import_module(f"adjit.{path}" if path else "adjit")
            for name in names:
                function = getattr(module, name)
                wrapper = _casting(function, lower)
                setattr(module, name, wrapper)
                behind = function_behind(f"{path}.{name}" if path else name)
                wrappers |= {id(each): wrapper for each in (function, behind) if each is not None}
    _rename(wrappers)
    for names, lower in ((_METHODS_LOWER, True), (_METHODS_SINGLE, False)):
        for name in names:
            setattr(Tensor, name, _casting(getattr(Tensor, name), lower))
    for name, home in _INSIDE.items():
        own = getattr(import_module(f"adjit.{home}"), name)
        for owner in (import_module("adjit"), import_module("adjit.linalg"), Tensor):
            if hasattr(owner, name):
                setattr(owner, name, _aware(getattr(owner, name), own))


def _rename(wrappers: Mapping[int, Any]) -> None:
    """Let names that the user's modules have for a function, as from `mm = torch.mm`, mean its wrapper."""
    for path, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and path.partition(".")[0] != "adjit":
            for name, found in list(vars(module).items()):
                if id(found) in wrappers:
                    setattr(module, name, wrappers[id(found)])


def _aware(function: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """The function; within `autocast` what it is in Python, which casts by `lowered`."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return (function if STATE.autocast is None or kwargs.get("out") is not None else own)(*args, **kwargs)

    return wrapper


def lowered(*operands: Tensor) -> tuple[Tensor, ...]:
    """The operands of a product within another function, cast within `autocast`."""
    target = STATE.autocast
    return operands if target is None else _cast(operands, target)


@contextmanager
def precision(dtype: DType | None) -> Iterator[None]:
    """Compute products in a dtype, or in that of their operands."""
    before, STATE.autocast = STATE.autocast, dtype
    try:
        yield
    finally:
        STATE.autocast = before


def _casting(function: Callable[..., Any], lower: bool) -> Callable[..., Any]:
    """The function, whose operands are cast within `autocast`."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        target = STATE.autocast
        if target is None or kwargs.get("out") is not None:  # what is given decides the dtype
            return function(*args, **kwargs)
        with precision(None):  # what it calls computes as it is told
            dtype = target if lower else F32
            return function(*_cast(args, dtype), **{name: _cast(value, dtype) for name, value in kwargs.items()})

    return wrapper


def _cast(value: Any, dtype: DType) -> Any:
    """Tensors of single and half precision in the wanted one; all else as it is."""
    if isinstance(value, Tensor):
        return value.to(_public(dtype)) if value._dtype in (F32, BF16, F16) and value._dtype is not dtype else value
    if type(value) in (list, tuple):
        return type(value)(_cast(item, dtype) for item in value)
    return value


def _public(dtype: DType) -> Any:
    from adjit.dtypes import public

    return public(dtype)
