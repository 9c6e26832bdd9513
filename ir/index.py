"""Index forms: what an op's rule `indexes` may say about one element of its result.

A rule is run by whoever wants to know: the loop compiler (to emit loads), analysis (to read strides of a view).
Everything is expressed through the verbs of `Scalars`; operands are functions from an index to an element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adjit.ir.shape import Size
from adjit.ir.types import DType, TensorType

# A scalar of an index form; ordinary arithmetic and the scalar primitives apply to it.
Element = Any


class ElementFunction(Protocol):
    """An operand of an index form: its type, and its element at an index."""

    @property
    def type(self) -> TensorType: ...

    def __call__(self, *index: Size) -> Element: ...


class Scalars(Protocol):
    """What an index form can use beside arithmetic."""

    def constant(self, value: float | int | bool, dtype: DType) -> Element:
        """A literal."""

    def index(self, value: Size, dtype: DType) -> Element:
        """The integer `value` of an index expression, as a scalar of `dtype`."""

    def listed(self, values: Sequence[float | int | bool], dtype: DType, position: Size) -> Element:
        """The number at `position` of a table."""

    def inside(self, conditions: Sequence[tuple[Size, Size]]) -> Element:
        """The bool: every `(expression, extent)` has 0 <= expression < extent."""

    def select(self, condition: Element, then: Callable[[], Element], other: Callable[[], Element]) -> Element:
        """`then()` where the condition holds, else `other()`; an element is read only on the chosen side."""

    def reduce(
        self, kind: str, extents: Sequence[Size], body: Callable[..., Element | tuple[Element, ...]]
    ) -> Element | tuple[Element, ...]:
        """Fold `body(*reduction_index)` over a domain.

        `kind` is sum, prod, max, min, any, all; or argmax, argmin, whose body gives (value, index) and which return the
        pair at the first greatest (least) value, a NaN counting as the greatest and the least.
        """

    def position(self, element: Element, extent: Size, *, certain: bool = False) -> Size:
        """A computed integer element for use in an index; negative or >= extent is a fault, never a wild read.

        One that is `certain` is known to be inside.
        """

    def random_word(self, seed: Element, stream: Element, position: Size) -> Element:
        """Word `position` of the stream of random bits that the i64 `seed` and `stream` name, as an i32."""
