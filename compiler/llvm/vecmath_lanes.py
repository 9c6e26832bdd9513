"""Lanes: an LLVM value with Python's operators, so that a math function reads as its formula at any lane count.

No operator carries a fast-math flag and `fma` is always explicit: each lane's bits depend on its operands alone, not on
the width, the mode, or the neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen
from adjit.ir.types import BOOL, F32, F64, I32, I64, DType

# Lines of math functions that are copied into one function; a call costs the registers that live across it.
_INLINED_LINES = 800

Number: TypeAlias = float | int
Table = Mapping[DType, Sequence[float]]


@frozen
class FloatFormat:
    """The layout of an IEEE binary format: `mantissa` stored bits, exponent `bias`, the `integer` of the same width."""

    mantissa: int
    bias: int
    integer: DType

    @property
    def precision(self) -> int:
        """Significant bits, with the hidden one."""
        return self.mantissa + 1

    @property
    def shifter(self) -> float:
        """1.5 * 2^mantissa: added to |x| < 2^(mantissa - 1), it leaves x rounded to an integer in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def shifter_bits(self) -> int:
        return ((self.mantissa + self.bias) << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


FORMATS: Mapping[DType, FloatFormat] = {F32: FloatFormat(23, 127, I32), F64: FloatFormat(52, 1023, I64)}


@frozen
class Lanes:
    """The value `text` of LLVM type `type` in `function`; a Python number as the other operand is a constant."""

    function: Function
    type: LLType
    text: str

    @property
    def format(self) -> FloatFormat:
        return FORMATS[self.type.dtype]

    @property
    def varies(self) -> bool:
        """Whether this is a computed value, not a literal."""
        return self.text.startswith("%")

    def constant(self, value: Number) -> Lanes:
        """`value` in every lane, in this value's type."""
        return Lanes(self.function, self.type, self.type.constant(value))

    def lift(self, value: Lanes | Number) -> Lanes:
        return value if isinstance(value, Lanes) else self.constant(value)

    def _binary(self, real: str, integer: str, other: Lanes | Number) -> Lanes:
        opcode = real if self.type.dtype.is_float else integer
        if not opcode:
            raise TypeError(f"no such operation on {self.type.dtype}")
        return self._let(f"{opcode} {self.type.llvm} {self.text}, {self.lift(other).text}")

    def _let(self, text: str, ty: LLType | None = None) -> Lanes:
        return Lanes(self.function, ty or self.type, self.function.let(text))

    def __add__(self, other: Lanes | Number) -> Lanes:
        return self._binary("fadd", "add", other)

    def __radd__(self, other: Number) -> Lanes:
        return self.constant(other) + self

    def __sub__(self, other: Lanes | Number) -> Lanes:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: Number) -> Lanes:
        return self.constant(other) - self

    def __mul__(self, other: Lanes | Number) -> Lanes:
        return self._binary("fmul", "mul", other)

    def __rmul__(self, other: Number) -> Lanes:
        return self.constant(other) * self

    def __truediv__(self, other: Lanes | Number) -> Lanes:
        return self._binary("fdiv", "", other)

    def __rtruediv__(self, other: Number) -> Lanes:
        return self.constant(other) / self

    def __neg__(self) -> Lanes:
        return self._let(f"fneg {self.type.llvm} {self.text}")

    def __and__(self, other: Lanes | Number) -> Lanes:
        return self._binary("", "and", other)

    def __or__(self, other: Lanes | Number) -> Lanes:
        return self._binary("", "or", other)

    def __xor__(self, other: Lanes | Number) -> Lanes:
        return self._binary("", "xor", other)

    def __invert__(self) -> Lanes:
        return self ^ (True if self.type.dtype is BOOL else -1)

    def __lshift__(self, count: Lanes | int) -> Lanes:
        return self._binary("", "shl", count)

    def __rshift__(self, count: Lanes | int) -> Lanes:
        """The shift that keeps the sign of a signed integer."""
        return self._binary("", "ashr" if self.type.dtype.kind == "int" else "lshr", count)

    def shift_in_zeros(self, count: int) -> Lanes:
        """The shift to the right that fills with zeros, whatever the sign."""
        return self._binary("", "lshr", count)

    def _compare(self, order: str, other: Lanes | Number) -> Lanes:
        dtype = self.type.dtype
        signed = "s" if dtype.kind == "int" else "u"
        opcode = f"fcmp o{order}" if dtype.is_float else f"icmp {order if order == 'eq' else signed + order}"
        return self._mask(f"{opcode} {self.type.llvm} {self.text}, {self.lift(other).text}")

    def _mask(self, text: str) -> Lanes:
        return self._let(text, self.type.with_dtype(BOOL))

    def __lt__(self, other: Lanes | Number) -> Lanes:
        """Comparisons are false where an operand is NaN."""
        return self._compare("lt", other)

    def __le__(self, other: Lanes | Number) -> Lanes:
        return self._compare("le", other)

    def __gt__(self, other: Lanes | Number) -> Lanes:
        return self._compare("gt", other)

    def __ge__(self, other: Lanes | Number) -> Lanes:
        return self._compare("ge", other)

    def equal(self, other: Lanes | Number) -> Lanes:
        return self._compare("eq", other)

    def is_nan(self) -> Lanes:
        return self._mask(f"fcmp uno {self.type.llvm} {self.text}, {self.text}")

    def choose(self, then: Lanes | Number, other: Lanes | Number) -> Lanes:
        """`then` where this mask is true, else `other`; one of the two is a value."""
        typed = then if isinstance(then, Lanes) else other
        if not isinstance(typed, Lanes):
            raise TypeError("choose needs a value among its two")
        ty, yes, no = typed.type, typed.lift(then), typed.lift(other)
        text = f"select {self.type.llvm} {self.text}, {ty.llvm} {yes.text}, {ty.llvm} {no.text}"
        return self._let(text, ty)

    def any(self) -> str:
        """The i1 that says whether this mask is true in some lane."""
        return any_lane(self.function, self.type.lanes, self.text)

    def __abs__(self) -> Lanes:
        return self._intrinsic("fabs")

    def sqrt(self) -> Lanes:
        return self._intrinsic("sqrt")

    def floor(self) -> Lanes:
        return self._intrinsic("floor")

    def truncate(self) -> Lanes:
        return self._intrinsic("trunc")

    def copy_sign(self, other: Lanes) -> Lanes:
        """This magnitude with the sign bit of `other`."""
        return self._intrinsic("copysign", other)

    def _intrinsic(self, name: str, *others: Lanes) -> Lanes:
        operands = (self.text, *(o.text for o in others))
        return Lanes(self.function, self.type, self.function.intrinsic(name, self.type, *operands))

    def convert(self, opcode: str, dtype: DType) -> Lanes:
        """LLVM's cast instruction `opcode` to `dtype`."""
        ty = self.type.with_dtype(dtype)
        return self._let(f"{opcode} {self.type.llvm} {self.text} to {ty.llvm}", ty)

    def bits(self) -> Lanes:
        """The bits of a float as an integer."""
        return self.convert("bitcast", self.format.integer)

    def as_float(self, dtype: DType) -> Lanes:
        """The float whose bits these are."""
        return self.convert("bitcast", dtype)


def fma(a: Lanes, b: Lanes | Number, c: Lanes | Number) -> Lanes:
    """a * b + c, rounded once.

    Without an instruction for it (a library would be called for each lane) by several, whose result is another number
    once in some 2^29 times; in f64 also where the product's error underflows.
    """
    operands = (a.text, a.lift(b).text, a.lift(c).text)
    if not a.function.module.fma:
        body = _fma_in_double if a.type.dtype is F32 else _fma_in_parts
        return Lanes(a.function, a.type, call_shared(a.function, "fma", a.type, operands, body))
    return Lanes(a.function, a.type, a.function.intrinsic("fma", a.type, *operands))


def _fma_in_double(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    a, b, c = (x.convert("fpext", F64) for x in (a, b, c))
    return (a * b + c).convert("fptrunc", F32)


def _fma_in_parts(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    product = a * b
    total = product + c
    of_c = total - product
    error = (product - (total - of_c)) + (c - of_c)  # of the sum (Knuth)
    value = total + (error + _error_of_product(a, b, product))
    # Zeros have their sign from the sum, infinities their value.
    return (abs(value) > 0.0).choose(value, total)


def _error_of_product(a: Lanes, b: Lanes, product: Lanes) -> Lanes:
    """a * b - product, from halves of 26 bits (Dekker 1971), taken from the bits, where no number is too large."""

    def halves(x: Lanes) -> tuple[Lanes, Lanes]:
        high = ((x.bits() + (1 << 26)) & -(1 << 27)).as_float(F64)
        return high, x - high

    (a, a_low), (b, b_low) = halves(a), halves(b)
    return a_low * b_low - (((product - a * b) - a_low * b) - a * b_low)


def polynomial(x: Lanes, coefficients: Sequence[Lanes | float]) -> Lanes:
    """coefficients[0] + coefficients[1] x + ..., by Horner's rule in fma, where that is an instruction."""
    total, fused = x.lift(coefficients[-1]), x.function.module.fma
    for coefficient in reversed(coefficients[:-1]):
        total = fma(total, x, coefficient) if fused else total * x + coefficient
    return total


def nearest_multiple(x: Lanes, inverse: float) -> tuple[Lanes, Lanes]:
    """n = x * inverse rounded to an integer, as a float and as an integer; |n| < 2^(mantissa - 1)."""
    shifted = fma(x, inverse, x.format.shifter)
    return shifted - x.format.shifter, shifted.bits() - x.format.shifter_bits


def integer_to_float(n: Lanes, dtype: DType) -> Lanes:
    """The integer |n| < 2^(mantissa - 1) as a float, without a conversion instruction (AVX2 has none for i64)."""
    layout = FORMATS[dtype]
    return (n + layout.shifter_bits).as_float(dtype) - layout.shifter


def power_of_two(n: Lanes, dtype: DType) -> Lanes:
    """2^n for n in the exponent range of normal numbers."""
    layout = FORMATS[dtype]
    return ((n + layout.bias) << layout.mantissa).as_float(dtype)


def repair(mask: Lanes, values: Sequence[Lanes], repaired: Callable[[], Sequence[Lanes]]) -> list[Lanes]:
    """`repaired()` if `mask` holds in some lane, else `values`; the block of the repair is skipped where none does."""
    function, before = mask.function, mask.function.block
    rare, done = function.label("rare"), function.label("done")
    function.branch(mask.any(), rare, done)
    function.start(rare)
    news, after = repaired(), function.block
    function.jump(done)
    function.start(done)
    both = zip(values, news, strict=True)
    pairs = [(old.type, f"[ {old.text}, %{before} ], [ {new.text}, %{after} ]") for old, new in both]
    return [Lanes(function, ty, function.let(f"phi {ty.llvm} {incoming}")) for ty, incoming in pairs]


def loop_while(
    state: Sequence[Lanes],
    going: Callable[..., str],
    step: Callable[..., Sequence[Lanes]],
) -> tuple[Lanes, ...]:
    """The state after `while going(*state): state = step(*state)`; `going` gives an i1."""
    function = state[0].function
    before = function.block
    head, body, done = (function.label(hint) for hint in ("head", "body", "done"))
    function.jump(head)
    function.start(head)
    names = [function.reserve() for _ in state]
    first_phi = len(function.lines)
    function.lines += ["" for _ in state]
    current = tuple(Lanes(function, s.type, name) for s, name in zip(state, names, strict=True))
    function.branch(going(*current), body, done)
    function.start(body)
    following = step(*current)
    for i, (old, new) in enumerate(zip(state, following, strict=True)):
        incoming = f"[ {old.text}, %{before} ], [ {new.text}, %{function.block} ]"
        function.lines[first_phi + i] = f"  {names[i]} = phi {old.type.llvm} {incoming}"
    function.jump(head)
    function.start(done)
    return current


def any_lane(function: Function, lanes: int, mask: str) -> str:
    """Whether the i1 or vector of i1 `mask` is true in some lane, as an i1."""
    if lanes == 1:
        return mask
    ty = LLType(BOOL, lanes)
    name = f"@llvm.vector.reduce.or.{ty.suffix}"
    function.module.declare(f"declare i1 {name}({ty.llvm})")
    return function.let(f"call i1 {name}({ty.llvm} {mask})")


def call_shared(
    function: Function,
    name: str,
    ty: LLType,
    operands: Sequence[str],
    body: Callable[..., Lanes],
) -> str:
    """Call `adjit.<name>.<suffix>`, whose text `body(*operands) -> result` is emitted once per module and width.

    One body per width keeps the text of a kernel short.  The always-inliner copies it to its calls, until a function
    has taken in `_INLINED_LINES`: LLVM's time grows faster than a function's size.
    """
    module, full = function.module, f"adjit.{name}.{ty.suffix}"
    types, names = [ty] * len(operands), [f"%x{i}" for i in range(len(operands))]
    if not module.has(full):
        if ty.dtype.is_float and ty.dtype not in FORMATS:
            raise CompileError(f"{name} on {ty.dtype} has to be legalised to f32 first")
        inner = math_function(module, full, types, ty.llvm, inline=True)
        result = body(*(Lanes(inner, ty, n) for n in names))
        inner.line(f"ret {ty.llvm} {result.text}")
        inner.finish()
    function.inlined += module.line_count(full)
    if function.inlined > _INLINED_LINES:
        inlined, full = full, module.shared(f"{full}.called")
        if not module.has(full):
            inner = math_function(module, full, types, ty.llvm, inline=False)
            inner.line(f"ret {ty.llvm} {inner.let(_call(inlined, ty, names))}")
            inner.finish()
    return function.let(_call(full, ty, operands))


def math_function(module: Module, name: str, types: Sequence[LLType], result: str, *, inline: bool) -> Function:
    """A function of `%x0`, `%x1` ... with this name, to be written."""
    copied = "alwaysinline" if inline else "noinline"
    attributes = f'{copied} nounwind willreturn memory(none) "prefer-vector-width"="512"'
    parameters = ", ".join(f"{ty.llvm} %x{i}" for i, ty in enumerate(types))
    return Function(module, name, parameters, result, attributes=attributes)


def _call(name: str, ty: LLType, operands: Sequence[str]) -> str:
    return f"call {ty.llvm} @{name}({', '.join(f'{ty.llvm} {operand}' for operand in operands)})"
