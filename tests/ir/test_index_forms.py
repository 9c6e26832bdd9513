"""Index forms: an op's own account of one element is what its reference computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from adjit.ir.ops.source import random_bits
from adjit.ir.ops.structure import same_position
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, DType, TensorType
from tests.ir.laws import OPS, assert_same, compute, named
from tests.samples import samples
from tests.sampling import Array


class ConcreteOperand:
    """An array as an operand of an index form: any index outside it is an error."""

    def __init__(self, array: Array, type: TensorType) -> None:
        self.array, self.type = array, type

    def __call__(self, *index: Size) -> Any:
        assert len(index) == self.array.ndim
        assert all(isinstance(i, int) and 0 <= i < n for i, n in zip(index, self.array.shape, strict=True)), index
        return self.array[index]  # type: ignore[index]


class Concrete:
    """Index forms on numbers: evaluates one element."""

    def constant(self, value: float, dtype: DType) -> Any:
        return np.asarray(value, dtype.storage)[()]

    def index(self, value: Size, dtype: DType) -> Any:
        return self.constant(value, dtype)  # type: ignore[arg-type]

    def listed(self, values: Sequence[Any], dtype: DType, position: int) -> Any:
        return self.constant(values[position], dtype)

    def inside(self, conditions: Sequence[tuple[int, int]]) -> bool:
        return all(0 <= expression < extent for expression, extent in conditions)

    def select(self, condition: bool, then: Callable[[], Any], other: Callable[[], Any]) -> Any:
        return then() if condition else other()

    def reduce(self, kind: str, extents: Sequence[int], body: Callable[..., Any]) -> Any:
        terms = [body(*place) for place in np.ndindex(*extents)]
        match kind:
            case "argmax" | "argmin":
                values = np.array([value for value, _ in terms])
                return terms[int(getattr(np, kind)(values))]
            case "max" | "min":
                return getattr(np, kind)(np.array(terms))
            case "any" | "all":
                return np.bool_({"any": any, "all": all}[kind](terms))
            case "sum" | "prod":
                values = np.array(terms)
                wide = {"f": np.float64, "c": np.complex128}.get(values.dtype.kind, values.dtype)
                return getattr(np, kind)(values, dtype=wide)
        raise AssertionError(kind)

    def random_word(self, seed: Any, offset: Any, position: int) -> Any:
        return random_bits.reference(np.array([seed, offset]), shape=(position + 1,))[position]

    def position(self, element: Any, extent: int, *, certain: bool = False) -> int:
        assert 0 <= element < extent
        return int(element)


@pytest.mark.parametrize("op", [op for op in OPS if op.index_rule is not None], ids=named)
def test_the_index_form_is_the_reference(op: Primitive) -> None:
    assert op.index_rule is not None
    for sample in samples(op):
        (wanted,) = compute(op, sample)
        found = np.zeros_like(wanted)
        operands = [ConcreteOperand(x, type) for x, type in zip(sample.operands, sample.types, strict=True)]
        with np.errstate(all="ignore"):
            for index in np.ndindex(*wanted.shape):
                found[index] = op.index_rule(Concrete(), index, *operands, **sample.attributes)
        assert_same(found, wanted, op.exact or wanted.dtype == np.uint16, sample.name)


N, M, A, B, C = map(Dim.named, ("n", "m", "a", "b", "c"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((6,), (2, 3), (3 * A + B,)),
        ((N, 3), (N, 3), (A, B)),
        ((3 * N,), (N, 3), (3 * A + B,)),
        ((N, 4), (N, 2, 2), (A, 2 * B + C)),
        ((N, 1, 4), (N, 4), (A, 0, B)),
        ((M * N, 3), (M, N, 3), (A * N + B, C)),
        ((N, 2, 3), (N, 6), (A, B // 3, B % 3)),
        ((2, 2, 5), (4, 5), (A // 2, A % 2, B)),
        ((2, 3, 4), (3, 2, 4), ((2 * A + B) // 3, (2 * A + B) % 3, C)),
    ],
)
def test_reshape_divides_only_where_it_must(old: Any, new: Any, expected: tuple[Size, ...]) -> None:
    assert primitive_named("reshape").infer((TensorType(F32, old),), {"shape": new}) == (TensorType(F32, new),)
    assert same_position((A, B, C)[: len(new)], new, old) == expected
