"""Tensors as PyTorch prints them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.capture.prints import compiling
from adjit.conversion import concrete, single
from adjit.dims import shape_of
from adjit.dtypes import default_complex, default_float, public
from adjit.ir.frozen import record
from adjit.ir.types import BF16, BOOL, I64
from adjit.tensor import Tensor, disabled_torch_function


@record
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed: digits, when to summarise, width; `profile` is default, short or full."""
    profiles = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80)}
    if profile is not None:
        _options.precision, _options.threshold, _options.edgeitems, _options.linewidth = profiles[profile]
    for name, value in (
        ("precision", precision), ("threshold", threshold), ("edgeitems", edgeitems), ("linewidth", linewidth),
    ):  # fmt: skip
        if value is not None:
            setattr(_options, name, value)
    _options.sci_mode = sci_mode


class _Formatter:
    """How one element is written: the form and width that suit all finite elements together."""

    def __init__(self, values: np.ndarray) -> None:
        self.floating = values.dtype.kind == "f"
        self.integral = True
        self.scientific = False
        self.width = 1
        if not self.floating:
            self.width = max((len(str(v)) for v in values.ravel().tolist()), default=1)
            return
        wide = values.astype(np.float64).ravel()
        finite = wide[np.isfinite(wide) & (wide != 0)]
        if finite.size == 0:
            return
        sizes = np.abs(finite)
        largest, smallest = float(sizes.max()), float(sizes.min())
        self.integral = bool(np.all(finite == np.ceil(finite)))
        self.scientific = largest / smallest > 1000.0 or largest > 1.0e8 or (not self.integral and smallest < 1.0e-4)
        if _options.sci_mode is not None:
            self.scientific = _options.sci_mode
        # Zeros, NaN and infinities do not count, so that they may be wider than the column.
        self._fit(finite)

    def _fit(self, values: np.ndarray) -> None:
        self.width = max((len(self._plain(v)) for v in values.tolist()), default=1)

    def _plain(self, value: Any) -> str:
        if not self.floating:
            return str(value)
        if not math.isfinite(value):
            return str(value)
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        return f"{value:.0f}." if self.integral else f"{value:.{_options.precision}f}"

    def __call__(self, value: Any) -> str:
        return self._plain(value).rjust(self.width)


class _ComplexFormatter:
    """How one complex element is written: each part in the form that suits all parts of its side."""

    def __init__(self, values: np.ndarray) -> None:
        self.real, self.imag = _Formatter(values.real), _Formatter(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        imag = f"{self.imag(value.imag)}j".lstrip()
        return self.real(value.real) + (imag if imag.startswith(("+", "-")) else f"+{imag}")


def _summarised(array: np.ndarray) -> np.ndarray:
    """The corners that a summary shows."""
    edge = _options.edgeitems
    for axis, extent in enumerate(array.shape):
        if extent > 2 * edge:
            kept = np.r_[0:edge, extent - edge : extent]
            array = np.take(array, kept, axis)
    return array


def _lines(array: np.ndarray, indent: int, summarise: bool, write: _Formatter | _ComplexFormatter) -> str:
    edge = _options.edgeitems
    if array.ndim == 0:
        return write(array[()].item())
    if array.ndim == 1:
        return _row(array, indent, summarise, write)
    extent = array.shape[0]
    if summarise and extent > 2 * edge:
        parts = [_lines(array[i], indent + 1, summarise, write) for i in range(edge)]
        parts += ["..."]
        parts += [_lines(array[i], indent + 1, summarise, write) for i in range(extent - edge, extent)]
    else:
        parts = [_lines(array[i], indent + 1, summarise, write) for i in range(extent)]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _row(array: np.ndarray, indent: int, summarise: bool, write: _Formatter | _ComplexFormatter) -> str:
    edge = _options.edgeitems
    per_line = max(1, (_options.linewidth - indent) // (write.width + 2))
    values = array.tolist()
    if summarise and edge == 0:
        shown = ["..."]
    elif summarise and len(values) > 2 * edge:
        shown = [write(v) for v in values[:edge]] + [" ..."] + [write(v) for v in values[-edge:]]
    else:
        shown = [write(v) for v in values]
    rows = [shown[i : i + per_line] for i in range(0, len(shown), per_line)]
    return "[" + ("," + "\n" + " " * (indent + 1)).join(", ".join(row) for row in rows) + "]"


def printed_elements(tensor: Tensor) -> tuple[np.ndarray, _Formatter | _ComplexFormatter]:
    """The numbers of a tensor that holds some, and how one of them is written: alike for all."""
    array = tensor._array
    assert array is not None
    if tensor._dtype is BF16:
        from adjit.ir.halfs import widen_bf16

        array = widen_bf16(array)
    shown = _summarised(array) if array.size > _options.threshold else array
    return array, _ComplexFormatter(shown) if tensor._dtype.is_complex else _Formatter(shown)


def _is_plain(kind: type[Tensor]) -> bool:
    """Whether tensors of a class are called tensors: parameters are, and users' classes are not."""
    own: Any = kind.__torch_function__
    return kind is Tensor or own is disabled_torch_function


def format_tensor(tensor: Tensor) -> str:
    """`tensor([[1.0000, 2.5000]], requires_grad=True)`."""
    if tensor._array is None:
        return f"<traced {tensor._tensor_type}>"
    array, formatter = printed_elements(tensor)
    suffixes: list[str] = []
    prefix = "tensor(" if _is_plain(type(tensor)) else f"{type(tensor).__name__}("
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
    else:
        body = _lines(array, len(prefix), array.size > _options.threshold, formatter)
        if _options.edgeitems == 0:
            suffixes.append(f"size={tuple(array.shape)}")
    natural = (default_float(), default_complex(), I64, BOOL) if array.size else (default_float(),)
    if tensor._dtype not in natural:
        suffixes.append(f"dtype={public(tensor._dtype)!r}")
    try:
        function = tensor.grad_fn
        name = tensor.__dict__.get("_grad_fn_name") if function is None else function.name()
    except RuntimeError:  # a view of a user's function whose base was written in place
        name = "Invalid"
    if name is not None:
        suffixes.append(f"grad_fn=<{name}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix, body, suffixes)


def _with_suffixes(prefix: str, body: str, suffixes: list[str]) -> str:
    """The suffixes on the last line where they fit, else on lines of their own."""
    text = prefix + body
    width = len(text) - text.rfind("\n") + 1  # two more than stand there, as PyTorch counts
    parts = [text]
    for suffix in suffixes:
        if width + len(suffix) + 2 > _options.linewidth:
            parts.append(",\n" + " " * len(prefix) + suffix)
            width = len(prefix) + len(suffix)
        else:
            parts.append(", " + suffix)
            width += len(suffix) + 2
    return "".join(parts) + ")"


# -- methods ----------------------------------------------------------------------------------------------------------
def string(input: Tensor) -> str:
    """`str(tensor)`."""
    if input._array is None and compiling():
        concrete(input, "str()")
    return repr(input)


def table(input: Tensor) -> str:
    """The tensor as a notebook shows it."""
    from adjit.notebook import tensor_html

    return tensor_html(input)


def formatted(input: Tensor, spec: str) -> str:
    """`f"{tensor:.3f}"`: the number of a 0-d tensor, the text of others."""
    if input._array is None and compiling():
        concrete(input, "format()")
    if shape_of(input) or (input._array is None and not spec):
        return object.__format__(input, spec)
    return format(single(input, "format()"), spec)


METHODS: dict[str, Callable[..., Any]] = {
    "__format__": formatted,
    "__repr__": format_tensor,
    "__str__": string,
    "_repr_html_": table,
}
__all__ = ["set_printoptions"]
