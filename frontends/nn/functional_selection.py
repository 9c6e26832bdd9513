"""Embeddings, one-hot vectors, dropout: functions that select."""

from __future__ import annotations

from collections.abc import Sequence

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.ir.errors import DimError
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I32, I64
from adjit.random import rand
from adjit.state import STATE, numbers_are_known
from adjit.tensor import Tensor
from adjit.views import check_writable, write


# -- embedding ---------------------------------------------------------------------------------------------------------
@composite("Embedding")
def rows_of(weight: Tensor, input: Tensor, padding_idx: int) -> Tensor:
    """weight[input]; the row `padding_idx` gets no gradient (-1: every row does)."""
    found: Tensor = apply(gather, (weight, input), {"axes": (0,)})
    if padding_idx < 0:
        return found
    result: Tensor = apply(where, ((input == padding_idx).unsqueeze(-1).expand(found.shape), found.detach(), found))
    return result


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """weight[input].

    Shapes: input integer[*], weight [rows, features] -> [*, features].
    Errors: IndexError for an index outside 0..rows-1.
    """
    if input._dtype.name not in ("i64", "i32"):
        raise explained(
            RuntimeError,
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.type()} instead (while checking arguments for embedding)",
            hint="indices are integers: {input}.long()",
        )
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if sparse:
        raise NotImplementedError("sparse gradients are not available")
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx = padding_idx + rows if padding_idx < 0 else padding_idx
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        weight = scaled_by_frequency(weight, input)
    try:
        found: Tensor = rows_of(weight, input, -1 if padding_idx is None else padding_idx)
    except DimError as error:
        raise explained(
            IndexError,
            "index out of range in self",
            hint="indices must lie in 0..num_embeddings-1: make the table larger, nn.Embedding(int({input}.max()) + "
            "1, ...)",
        ) from error
    return found


def scaled_by_frequency(weight: Tensor, input: Tensor) -> Tensor:
    """`weight`, where the gradient of each row is divided by how often `input` names it."""
    if not weight.requires_grad:
        return weight

    def divided(gradient: Tensor) -> Tensor:
        named = input.detach().reshape(-1)
        counts = gradient.new_zeros(weight.shape[0]).index_add(0, named, gradient.new_ones(named.shape))
        found: Tensor = gradient / counts.clamp(min=1).unsqueeze(-1)
        return found

    seen: Tensor = weight.view_as(weight)
    seen.register_hook(divided)
    return seen


def renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that `input` names down to `max_norm`, in place."""
    from adjit.autograd.modes import no_grad

    with no_grad():
        norms = weight.norm(norm_type, 1, keepdim=True)
        named = one_hot(input.reshape(-1).long(), weight.shape[0]).sum(0).unsqueeze(1) > 0
        factor = apply(where, ((norms > max_norm) & named, max_norm / (norms + 1e-7), 1))
        weight.mul_(factor)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """i64 with one more axis: 1 at each class, 0 elsewhere; -1 classes means one more than the greatest."""
    if tensor._dtype is not I64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if numbers_are_known() and tensor.numel():
        if int(tensor.min()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        greatest = int(tensor.max())
        if num_classes != -1 and greatest >= num_classes:
            raise explained(
                RuntimeError,
                "Class values must be smaller than num_classes.",
                hint="classes are counted from 0: num_classes must be above the largest, int({tensor}.max()) + 1",
            )
        num_classes = greatest + 1 if num_classes == -1 else num_classes
    if num_classes == -1:
        if STATE.tracer is not None:
            raise STATE.tracer.concrete_needed(tensor, "one_hot without num_classes")
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    found: Tensor = indicator(tensor, num_classes)
    return found


@composite("OneHot")
def indicator(tensor: Tensor, num_classes: int) -> Tensor:
    """1 where the last index equals the class, else 0; few classes are compared as numbers of 32 bits."""
    shape, is_narrow = (*tensor.shape, num_classes), isinstance(num_classes, int) and num_classes < 1 << 31
    column = apply(iota, (), {"shape": shape, "axis": tensor.ndim, "dtype": I32 if is_narrow else I64})
    classes = tensor.clamp(-1, num_classes).to(column.dtype) if is_narrow else tensor
    found: Tensor = (column == classes.unsqueeze(-1)).to(tensor.dtype)
    return found


# -- dropout -----------------------------------------------------------------------------------------------------------
@composite("Mul")
def masked(input: Tensor, mask: Tensor, factor: float) -> Tensor:
    """input*factor where the mask is set, input*0 elsewhere."""
    found: Tensor = input * (mask.to(input.dtype) * factor)
    return found


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        error = RuntimeError if p != p else ValueError  # as PyTorch has it
        raise error(f"dropout probability has to be between 0 and 1, but got {p}")


def _drop(input: Tensor, p: float, training: bool, inplace: bool, shape: Sequence[int]) -> Tensor:
    _check_probability(p)
    if not training or p == 0:
        return input
    # With p = 1 nothing is kept, and the factor of what is kept has no value.
    result: Tensor = masked(input, rand(tuple(shape)) < 1 - p, 1 / (1 - p) if p < 1 else 0.0)
    if not inplace:
        return result
    check_writable(input)
    return write(input, result)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element 0 with probability p, else scaled by 1/(1 - p)."""
    return _drop(input, p, training, inplace, input.shape)


def _drop_channels(
    name: str, ranks: tuple[int, ...], unbatched: int, input: Tensor, p: float, training: bool, inplace: bool
) -> Tensor:
    from adjit.warning import warn

    spatial = ranks[0] - 1
    inputs = "3D or 4D" if spatial == 2 else "4D or 5D"
    if input.ndim not in ranks:
        warn(
            f"{name}: Received a {input.ndim}-D input to {name}, which is deprecated and will result in an error in a "
            "future release. To retain the behavior and silence this warning, please use dropout instead. Note that "
            f"{name} exists to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel "
            f"dimension, and an optional batch dimension (i.e. {inputs} inputs).",
            UserWarning,
            stacklevel=3,
        )
    lead = 1 if input.ndim == unbatched else 2
    shape = (*input.shape[:lead], *(1,) * (input.ndim - lead))
    return _drop(input, p, training, inplace, shape)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, L] dropped with probability p."""
    _check_probability(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _drop_channels("dropout1d", (2, 3), 2, input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, H, W] dropped with probability p."""
    from adjit.warning import warn

    if input.ndim == 3:
        warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
            "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            UserWarning,
            stacklevel=2,
        )
    return _drop_channels("dropout2d", (3, 4), -1, input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, D, H, W] dropped with probability p."""
    return _drop_channels("dropout3d", (4, 5), 4, input, p, training, inplace)


# The mean of selu's negative saturation.  Source: Klambauer, Unterthiner, Mayr and Hochreiter, 2017.
_SATURATION = -1.7580993408473766


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropped elements take selu's saturation; then mean and variance are restored."""
    _check_probability(p)
    if not training or p == 0:
        return input
    return _saturate(input, p, inplace, input.shape)


def _saturate(input: Tensor, p: float, inplace: bool, shape: Sequence[int]) -> Tensor:
    scale = ((1 - p) * (1 + p * _SATURATION**2)) ** -0.5 if p < 1 else 0.0
    mask = (rand(tuple(shape)) < 1 - p).expand(input.shape)
    result: Tensor = saturated(input, mask, scale, -scale * _SATURATION * p)
    if not inplace:
        return result
    check_writable(input)
    return write(input, result)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels (axis 1)."""
    _check_probability(p)
    if not training or p == 0:
        return input
    if input.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return _saturate(input, p, inplace, (*input.shape[:2], *(1,) * (input.ndim - 2)))


@composite("Add")
def saturated(input: Tensor, mask: Tensor, scale: float, shift: float) -> Tensor:
    """scale*input + shift where the mask is set, scale*saturation + shift elsewhere."""
    found: Tensor = apply(where, (mask, input, _SATURATION)) * scale + shift
    return found
