"""The identities of `simplify` on scalar ops: each takes the site of an op and gives the value it equals, or None.

A rule holds bit for bit: `x + 0` is not x for x = -0, `x * 0` is not 0 for an infinite x, `x - x` not for NaN.
Those entered by `rounding` do up to the rounding, in programs that need not have the bits of eager mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, TypeAlias

import adjit.ir.ops.scalar  # noqa: F401  (registers the ops that rules are entered for)
from adjit.ir.builder import Expr
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Node, Value
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.shape import Dim
from adjit.ir.types import BF16, F16, F32, F64, DType, TensorType

if TYPE_CHECKING:
    from adjit.compiler.simplify import Simplifier


@frozen
class Site:
    """An op about to be made: what rules look at, and the builder that makes what they answer."""

    builder: Simplifier
    op: Primitive
    inputs: tuple[Value, ...]
    attributes: Mapping[str, Attribute]
    types: tuple[TensorType, ...]

    def make(self, name: str, *operands: Value | int | float | bool, **attributes: Attribute) -> Value:
        """The value of another op."""
        given = [self.builder.expr(x) if isinstance(x, Value) else x for x in operands]
        result = self.builder.apply(primitive_named(name), given, attributes)
        assert isinstance(result, Expr)
        return result.value

    def full(self, value: Value) -> Value:
        """A value of this op's shape, or of rank 0, in this op's shape."""
        return value if value.dims == self.types[0].dims else self.make("expand", value, shape=self.types[0].dims)

    def number(self, value: int | float | bool) -> Value:
        """A constant in this op's shape."""
        return self.full(self.builder.constant(value, self.types[0].dtype))


Rule: TypeAlias = "Callable[[Site], Value | None]"
RULES: dict[str, list[Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for the ops called `names`."""

    def enter(function: Rule) -> Rule:
        for name in names:
            RULES.setdefault(name, []).append(function)
        return function

    return enter


def rounding(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule that changes how results are rounded: strict programs do without it."""

    def enter(function: Rule) -> Rule:
        @wraps(function)
        def unless_strict(site: Site) -> Value | None:
            return None if site.builder.strict else function(site)

        return rule(*names)(unless_strict)

    return enter


# -- what rules look for -----------------------------------------------------------------------------------------------
def made_by(value: Value, name: str) -> Node | None:
    """The node of `value` if it is a `name`."""
    return value.node if value.node is not None and value.node.op.name == name else None


def number_in(value: Value) -> int | float | bool | None:
    """The number that every element of `value` is, or None."""
    while (node := made_by(value, "expand")) is not None:
        value = node.inputs[0]
    constant = value.constant
    return None if isinstance(constant, Dim) else constant


def is_number(value: Value, number: float) -> bool:
    """Whether every element is `number`, of the same sign if it is 0."""
    found = number_in(value)
    return found is not None and found == number and math.copysign(1, found) == math.copysign(1, number)


def is_never_negative_zero(value: Value) -> bool:
    """Whether -0 certainly is no element: of sums, which start from 0, and of what cannot be below 0."""
    while (node := value.node) is not None:
        if node.op.name in ("reshape", "permute", "expand", "slice", "window", "gather"):
            value = node.inputs[0]
            continue
        if node.op.name == "add":
            return any(is_number(x, 0.0) for x in node.inputs)
        if node.op.name == "const":
            return not is_number(value, -0.0)
        if node.op.name == "cast":
            return not node.inputs[0].dtype.is_continuous
        return node.op.name in ("reduce_sum", "dot", "abs", "exp", "fold")
    return False


# -- operands of scalar ops --------------------------------------------------------------------------------------------
def without_expand(site: Site) -> Value | None:
    """An operand that is a rank-0 value spread out is that value: scalar ops broadcast rank 0 by themselves."""
    if site.op.family != "scalar" or not site.types[0].dims:
        return None
    inputs = [spread_scalar(value) or value for value in site.inputs]
    if all(a is b for a, b in zip(inputs, site.inputs, strict=True)):
        return None
    return site.full(site.make(site.op.name, *inputs, **site.attributes))


def spread_scalar(value: Value) -> Value | None:
    """The scalar that `value` repeats everywhere, or None."""
    node = made_by(value, "expand")
    return node.inputs[0] if node is not None and not node.inputs[0].dims else None


SPREADING = [name for name, op in PRIMITIVES.items() if op.family == "scalar"]
rule(*SPREADING)(without_expand)


# -- arithmetic --------------------------------------------------------------------------------------------------------
@rule("add")
def add_nothing(site: Site) -> Value | None:
    """x + -0 is x; x + 0 is x for integers, and where x is never -0."""
    x, y = site.inputs
    for value, other in ((x, y), (y, x)):
        if is_number(other, -0.0 if value.dtype.is_continuous else 0):
            return site.full(value)
        if is_number(other, 0.0) and is_never_negative_zero(value):
            return site.full(value)
    return None


@rule("add")
def add_negative(site: Site) -> Value | None:
    """x + -y is x - y."""
    x, y = site.inputs
    for value, other in ((x, y), (y, x)):
        if (node := made_by(other, "neg")) is not None and made_by(value, "neg") is None:
            return site.full(site.make("sub", value, node.inputs[0]))
    return None


@rule("sub")
def subtract_nothing(site: Site) -> Value | None:
    """x - 0 is x, and x - -y is x + y."""
    x, y = site.inputs
    if is_number(y, 0):
        return site.full(x)
    if (node := made_by(y, "neg")) is not None:
        return site.full(site.make("add", x, node.inputs[0]))
    return None


@rule("mul")
def multiply_by_unit(site: Site) -> Value | None:
    """x * 1 is x, x * -1 is -x, and -x * -y is x * y."""
    x, y = site.inputs
    for value, other in ((x, y), (y, x)):
        if is_number(other, 1):
            return site.full(value)
        if is_number(other, -1):
            return site.full(site.make("neg", value))
        if is_number(other, 0) and not value.dtype.is_continuous:
            return site.number(0)
    left, right = made_by(x, "neg"), made_by(y, "neg")
    if left is not None and right is not None:
        return site.full(site.make("mul", left.inputs[0], right.inputs[0]))
    return None


@rule("div")
def divide_by_number(site: Site) -> Value | None:
    """x / 1 is x, x / -1 is -x, and a division by a power of two is a product."""
    x, y = site.inputs
    divisor = number_in(y)
    if divisor == 1:
        return site.full(x)
    if divisor is None or not x.dtype.is_float or divisor == 0 or not math.isfinite(divisor):
        return None
    if divisor == -1:
        return site.full(site.make("neg", x))
    # Both are the one rounding of the same number; far from the ends of the range the inverse is exact.
    exact = math.frexp(divisor)[0] in (0.5, -0.5) and 2.0**-100 < abs(divisor) < 2.0**100
    return site.full(site.make("mul", x, 1.0 / divisor)) if exact and x.dtype in (F32, F64) else None


@rule("neg", "not")
def undo_twice(site: Site) -> Value | None:
    """--x is x, and ~~x."""
    node = made_by(site.inputs[0], site.op.name)
    return None if node is None else node.inputs[0]


@rule("abs")
def absolute_of_sign(site: Site) -> Value | None:
    """||x|| and |-x| are |x|."""
    (x,) = site.inputs
    if made_by(x, "abs") is not None:
        return x
    node = made_by(x, "neg")
    return None if node is None else site.make("abs", node.inputs[0])


@rule("pow")
def constant_power(site: Site) -> Value | None:
    """x**2 is x*x, x**1 is x, x**0 is 1 and x**-1 is 1/x, as PyTorch computes them."""
    x, y = site.inputs
    exponent = number_in(y)
    if exponent == 2:
        return site.full(site.make("mul", x, x))
    if exponent == 1:
        return site.full(x)
    if exponent == 0:
        return site.number(1)
    if exponent == -1 and x.dtype.is_float:
        return site.full(site.make("div", site.builder.constant(1, x.dtype), x))
    return None


@rounding("pow")
def power_of_two(site: Site) -> Value | None:
    """2**x is exp2(x)."""
    base, x = site.inputs
    return site.full(site.make("exp2", x)) if is_number(base, 2) and x.dtype in (F32, F64) else None


@rounding("pow")
def small_power(site: Site) -> Value | None:
    """x**3 and x**4 are products, and x**-2 is the square of 1/x, within 1.5 ULP."""
    x, y = site.inputs
    exponent = number_in(y)
    if exponent == -2 and x.dtype.is_float:
        inverse = site.make("div", 1, x)
        return site.full(site.make("mul", inverse, inverse))
    if exponent not in (3, 4):
        return None
    square = site.make("mul", x, x)
    return site.full(site.make("mul", square, x if exponent == 3 else square))


@rounding("pow")
def power_of_three_halves(site: Site) -> Value | None:
    """x**1.5 is x*sqrt(x), and x**-1.5 is (1/x)/sqrt(x), which overflow where the power does; within 1.5 ULP."""
    x, y = site.inputs
    exponent = number_in(y)
    if exponent not in (1.5, -1.5) or x.dtype not in (F32, F64):
        return None
    root = site.make("sqrt", x)
    grows = exponent > 0
    value = site.make("mul", x, root) if grows else site.make("div", site.make("div", 1.0, x), root)
    # The root of -inf is NaN, its powers are not.
    lowest = site.make("eq", x, -math.inf)
    return site.full(site.make("where", lowest, math.inf if grows else 0.0, value))


@rule("maximum", "minimum", "and", "or")
def same_operands(site: Site) -> Value | None:
    """max(x, x), min(x, x), x & x and x | x are x."""
    x, y = site.inputs
    return x if x is y else None


@rule("and", "or", "xor")
def logic_with_constant(site: Site) -> Value | None:
    """A bool with true or false: itself, its opposite, or the constant."""
    if site.types[0].dtype.kind != "bool":
        return None
    x, y = site.inputs
    for value, other in ((x, y), (y, x)):
        known = number_in(other)
        if known is None:
            continue
        if site.op.name == "xor":
            return site.full(site.make("not", value) if known else value)
        decides = known == (site.op.name == "or")
        return site.number(bool(known)) if decides else site.full(value)
    return None


@rule("where")
def choose_known(site: Site) -> Value | None:
    """where(true, x, y) is x, where(c, x, x) is x, and where(~c, x, y) is where(c, y, x)."""
    condition, x, y = site.inputs
    known = number_in(condition)
    if known is not None:
        return site.full(x if known else y)
    if x is y:
        return site.full(x)
    node = made_by(condition, "not")
    return None if node is None else site.full(site.make("where", node.inputs[0], y, x))


# -- conversion --------------------------------------------------------------------------------------------------------
@rule("cast")
def cast_there_and_back(site: Site) -> Value | None:
    """A cast to the same dtype, or back from a dtype that holds every value of this one; a size in another dtype."""
    (x,) = site.inputs
    dtype = site.types[0].dtype
    if x.dtype is dtype:
        return x
    if isinstance(x.constant, Dim) and x.dtype.name == "i64" and dtype in (F32, F64):
        return site.builder.constant(x.constant, dtype)
    node = made_by(x, "cast")
    if node is not None and node.inputs[0].dtype is dtype and holds(x.dtype, dtype):
        return node.inputs[0]
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if wide.is_float:
        digits = {F16: 11, BF16: 8, F32: 24, F64: 53}
        if narrow.is_float:
            return wide is F64 or narrow is wide or (wide is F32 and narrow in (F16, BF16))
        return narrow.bits - (narrow.kind == "int") <= digits[wide] and narrow.kind != "bool"
    if narrow.kind == "bool":
        return False
    same_kind = wide.kind == narrow.kind and wide.bits >= narrow.bits
    return same_kind or (wide.kind == "int" and narrow.kind == "uint" and wide.bits > narrow.bits)


@rule("bitcast")
def bitcast_back(site: Site) -> Value | None:
    """The same bits in the same dtype."""
    (x,) = site.inputs
    node = made_by(x, "bitcast")
    if x.dtype is site.types[0].dtype:
        return x
    return node.inputs[0] if node is not None and node.inputs[0].dtype is site.types[0].dtype else None
