"""Sequences of different lengths: padded to one tensor, or packed step by step without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from adjit.composite import composite
from adjit.creation import full, tensor
from adjit.dispatch import apply
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.ranges import arange
from adjit.state import STATE
from adjit.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """The steps of several sequences, longest first: all first steps, then all second steps, and so on.

    Step t has `batch_sizes[t]` rows of `data`.  `sorted_indices` says which sequence stands where.
    """

    __slots__ = ()
    __match_args__ = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")

    def __new__(
        cls, data: Any, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:  # fmt: skip
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        found = super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)
        assert isinstance(found, PackedSequence)
        return found

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with `data` converted as by `Tensor.to`."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """These sequences: they are on the CPU."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to a GPU.  Errors: as `Tensor.cuda`."""
        return type(self)(self.data.cuda(*args, **kwargs), *self[1:])

    def pin_memory(self) -> PackedSequence:
        """With `data` as `Tensor.pin_memory` gives it."""
        return type(self)(self.data.pin_memory(), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """False: the data is on the CPU."""
        return bool(self.data.is_cuda)

    def is_pinned(self) -> bool:
        """Whether the data is in pinned memory."""
        return bool(self.data.is_pinned())


def _converter(name: str) -> Callable[[PackedSequence], PackedSequence]:
    def convert(self: PackedSequence) -> PackedSequence:
        data = getattr(self.data, name)()
        return self if data is self.data else type(self)(data, *self[1:])

    convert.__name__ = name
    convert.__doc__ = f"The same sequences with `data` as `Tensor.{name}` gives it."
    return convert


for _name in ("double", "float", "half", "long", "int", "short", "char", "byte"):
    setattr(PackedSequence, _name, _converter(_name))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """q with q[permutation[i]] = i."""
    if permutation is None:
        return None
    found: Tensor = permutation.scatter(0, permutation, arange(0, permutation.numel()))
    return found


# -- where the rows of packed data stand -------------------------------------------------------------------------------
def layout(batch_sizes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For step t and sequence n: the row of packed data, i64[T, count], and whether there is one, bool[T, count].

    Where there is none the row is 0.
    """
    steps = batch_sizes.shape[0]
    column = apply(iota, (), {"shape": (steps, count), "axis": 1, "dtype": I64})
    sizes = batch_sizes.to(column.dtype)
    present = column < sizes.unsqueeze(1)
    place = (sizes.cumsum(0) - sizes).unsqueeze(1) + column
    return apply(where, (present, place, 0)), present


@composite("IndexSelect", "padded_from")
def padded_from(data: Tensor, place: Tensor, present: Tensor, value: float) -> Tensor:
    """data[place] where there is a step, `value` elsewhere: [T, N, *]."""
    rows = apply(gather, (data, place), {"axes": (0,)})
    mask = present.reshape(*present.shape, *(1,) * (rows.ndim - 2)).expand(rows.shape)
    found: Tensor = apply(where, (mask, rows, value))
    return found


@composite("Cat", "packed_rows")
def packed_rows(padded: Tensor, place: Tensor, present: Tensor, count: int) -> Tensor:
    """The `count` rows of packed data out of [T, N, *]: what `padded_from` undoes."""
    total = place.shape[0] * place.shape[1]
    spare = apply(where, (present, place, count)).reshape(total)  # steps that are not there share a row past the end
    origin = apply(iota, (), {"shape": (total,), "axis": 0, "dtype": I64})
    start = apply(iota, (), {"shape": (count + 1,), "axis": 0, "dtype": I64}) * 0
    index = start.scatter(0, spare, origin).narrow(0, 0, count)
    found: Tensor = apply(gather, (padded.reshape(total, *padded.shape[2:]), index), {"axes": (0,)})
    return found


@composite("PackPaddedSequence")
def _packed(input: Tensor, index: Tensor) -> Tensor:
    flat = input.reshape(input.shape[0] * input.shape[1], *input.shape[2:])
    found: Tensor = apply(gather, (flat, index), {"axes": (0,)})
    return found


# -- packing -----------------------------------------------------------------------------------------------------------
def _numbers(lengths: Any, what: str) -> list[int]:
    if not isinstance(lengths, Tensor):
        return [int(length) for length in lengths]
    if lengths.ndim != 1 or lengths._dtype is not I64:
        name = lengths._dtype.long_name
        title = {"int64": "Long", "int32": "Int", "float32": "Float", "float64": "Double"}.get(name, name.capitalize())
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.ndim}D cpu {title} tensor"
        )
    if STATE.tracer is not None and lengths._array is None:
        raise STATE.tracer.concrete_needed(lengths, what)
    return [int(length) for length in lengths.tolist()]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The first `lengths[n]` steps of each sequence n, without the padding.

    Shapes: input [T, N, *] ([N, T, *] if `batch_first`), lengths i64[N] or a list.  `enforce_sorted` False: the
    sequences may come in any order.
    """
    numbers = _numbers(lengths, "pack_padded_sequence")
    order = None
    if enforce_sorted is False:
        order = sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)
        numbers = [numbers[place] for place in order]
    if 0 in input.shape:
        raise RuntimeError("Cannot pack empty tensors.")
    if batch_first:
        input = input.transpose(0, 1)
    count = input.shape[1]
    if len(numbers) != count:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(numbers)} (batch_size={count})"
        )
    if numbers[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(one < two for one, two in pairwise(numbers)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if numbers[0] > input.shape[0]:
        raise RuntimeError(f"a length of {numbers[0]} is more than the {input.shape[0]} steps of the padded input")
    batch = [sum(length > step for length in numbers) for step in range(numbers[0])]
    columns = list(range(count)) if order is None else order
    index = [step * count + columns[row] for step, size in enumerate(batch) for row in range(size)]
    data = _packed(input, tensor(index))
    return PackedSequence(data, tensor(batch), None if order is None else tensor(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The sequences as [T, N, *] ([N, T, *] if `batch_first`), filled with `padding_value`; and their lengths."""
    batch_sizes = sequence.batch_sizes
    steps = batch_sizes.shape[0]
    if total_length is not None and total_length < steps:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {steps}"
        )
    count = sequence_count(sequence)
    place, present = layout(batch_sizes, count)
    padded: Tensor = padded_from(sequence.data, place, present, padding_value)
    if total_length is not None and total_length > steps:
        rest = full((total_length - steps, *padded.shape[1:]), padding_value, dtype=padded.dtype)
        padded = _joined(padded, rest)
    lengths = present.to(batch_sizes.dtype).sum(0)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def _joined(first: Tensor, second: Tensor) -> Tensor:
    from adjit.joining import cat

    return cat([first, second])


def sequence_count(sequence: PackedSequence) -> int:
    """How many sequences there are: the size of the first step."""
    if sequence.sorted_indices is not None:
        return int(sequence.sorted_indices.shape[0])
    return int(sequence.batch_sizes[0])


# -- padding -----------------------------------------------------------------------------------------------------------
def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences [T_n, *] as one tensor [T, N, *] ([N, T, *] if `batch_first`), T the greatest length."""
    from adjit.joining import cat, stack

    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    listed: list[Tensor] = list(sequences)
    if not listed:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    longest = max(item.shape[0] for item in listed)
    rows = []
    for item in listed:
        missing = longest - item.shape[0]
        filler = item.new_full((missing, *item.shape[1:]), padding_value)  # lengths that change are natively joined
        rows.append(item if missing == 0 else cat([filler, item] if padding_side == "left" else [item, filler]))
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each with its own length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    numbers = _numbers(lengths, "unpad_sequence")
    return [row[:length] for row, length in zip(padded_sequences.unbind(0), numbers, strict=False)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences [T_n, *] packed."""
    lengths = [item.shape[0] for item in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed one."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
