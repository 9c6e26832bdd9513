"""What convolutions ask of their arguments, with PyTorch's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adjit.errors import explained
from adjit.tensor import Tensor


def check_rank(name: str, rank: int, input: Tensor) -> bool:
    """Whether `input` has a batch axis."""
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    found: bool = input.ndim == rank + 2
    return found


def _for_each_axis(name: str, value: Any, rank: int, own: int) -> tuple[int, ...]:
    """One number for each spatial axis; `own` is the rank of the function that was called."""
    listed = tuple(value) if isinstance(value, Sequence) else (value,) * own
    if len(listed) == 1:
        return listed * rank
    if len(listed) != rank:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {rank} values to match the convolution "
            f"dimensions, but got {name}={list(listed)}"
        )
    return listed


def check_windows(
    input: Tensor, weight: Tensor, groups: int, given: Mapping[str, Any], *, same: bool = False
) -> tuple[tuple[int, ...], ...]:
    """stride, padding, dilation, ... as tuples; `same` for padding="same", where ranks are compared first.

    Errors: RuntimeError for numbers that make no window.
    """
    if weight.ndim < 3:
        raise RuntimeError("weight should have at least three dimensions")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if same:
        _check_ranks(input, weight, "")
    rank = weight.ndim - 2
    found = {name: _for_each_axis(name, value, rank, input.ndim - 2) for name, value in given.items()}
    for name in ("padding", "output_padding"):
        if any(side < 0 for side in found.get(name, ())):
            raise RuntimeError(f"negative {name} is not supported")
    if any(step <= 0 for step in found["stride"]):
        raise RuntimeError("non-positive stride is not supported")
    _check_ranks(input, weight, " ")
    gaps = found["dilation"]
    if any(gap <= 0 for gap in gaps):
        at = "" if any(gap < 0 for gap in gaps) else f", but got {list(gaps)}"
        raise RuntimeError(f"dilation should be greater than zero{at}")
    shape = list(weight.shape)
    if shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{shape} instead"
        )
    if shape[0] % groups != 0:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{shape}] instead"
        )
    return tuple(found.values())


def _check_ranks(input: Tensor, weight: Tensor, blank: str) -> None:
    """PyTorch writes the weight's shape with a blank before it in one place, and without in the other."""
    if weight.ndim != input.ndim:
        rank, own, shape = weight.ndim, input.ndim, list(weight.shape)
        raise RuntimeError(
            f"Expected {rank}-dimensional input for {rank}-dimensional weight{blank}{shape}, but got {own}-dimensional "
            f"input of size {list(input.shape)} instead"
        )


def _check_bias(weight: Tensor, bias: Tensor | None, features: int, transposed: str) -> None:
    if bias is not None and tuple(bias.shape) != (features,):
        raise RuntimeError(
            f"Given {transposed}weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {features} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )


def _axes(values: Sequence[int]) -> str:
    return " x ".join(map(str, values))


def check_channels(
    input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> None:  # fmt: skip
    """Channels, bias and window fit the input of a convolution."""
    if input.shape[1] != weight.shape[1] * groups:
        raise explained(
            RuntimeError,
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{weight.shape[1] * groups} channels, but got {input.shape[1]} channels instead",
            hint=f"axis 1 of the input holds the channels, [batch, channels, ...]: make the layer with "
            f"in_channels={input.shape[1]}, or permute the input",
        )
    _check_bias(weight, bias, weight.shape[0], "")
    padded = [n + low + high for n, (low, high) in zip(input.shape[2:], padding, strict=True)]
    kernel = [gap * (extent - 1) + 1 for gap, extent in zip(dilation, weight.shape[2:], strict=True)]
    if any(have < need for have, need in zip(padded, kernel, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_axes(padded)}). Kernel size: ({_axes(kernel)}). Kernel size "
            "can't be greater than actual input size"
        )


_TITLES = {1: ("width",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def check_transposed(
    input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int],
) -> None:  # fmt: skip
    """Channels, bias, output padding and size of a transposed convolution."""
    if input.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{weight.shape[0]} channels, but got {input.shape[1]} channels instead"
        )
    _check_bias(weight, bias, weight.shape[1] * groups, "transposed=1, ")
    lists = {"output_padding": output_padding, "stride": stride, "dilation": dilation}
    for extra, step, gap in zip(output_padding, stride, dilation, strict=True):
        if extra >= step and extra >= gap:
            titles = _TITLES[len(stride)] if len(stride) > 1 else ("height", "width")
            shown = {name: values if len(values) > 1 else (*((0,) if name == "output_padding" else (1,)), *values)
                     for name, values in lists.items()}  # fmt: skip
            listed = " ".join(
                f"{name}_{title}: {value}"
                for name, values in shown.items()
                for title, value in zip(titles, values, strict=True)
            )
            raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {listed}")
    counts = [
        (n - 1) * s - 2 * p + g * (k - 1) + extra + 1
        for n, s, p, g, k, extra in zip(
            input.shape[2:], stride, padding, dilation, weight.shape[2:], output_padding, strict=True
        )
    ]
    if any(count < 1 for count in counts):
        raise RuntimeError(
            f"Given input size per channel: ({_axes(input.shape[2:])}). Calculated output size per channel: "
            f"({_axes(counts)}). Output size is too small"
        )


def check_types(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Input, weight and bias have one dtype."""
    for other, what in ((bias, "bias"), (weight, "weight")):
        if other is not None and other._dtype is not input._dtype:
            raise RuntimeError(
                f"Input type ({_scalar_name(input)}) and {what} type ({_scalar_name(other)}) "
                "should be the same"
            )


def _scalar_name(tensor: Tensor) -> str:
    """The name of the element type in C++."""
    names = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}
    name = tensor._dtype.long_name
    return names.get(name, {"int64": "long", "int32": "int"}.get(name, name))
