"""Index arithmetic in LLVM: sizes and index expressions as i64 scalars, as ramps along the lanes, or as vectors."""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import repeats
from adjit.compiler.llvm.emit_state import VARYING, Lanes, Pattern, Ramp, Uniform, Variable, Writer
from adjit.compiler.llvm.sequences import splat
from adjit.compiler.llvm.text import LLType
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen
from adjit.ir.shape import Atom, Dim, Monomial, Size, size_names, substitute
from adjit.ir.types import I32, I64


@frozen
class Place:
    """An index expression in the present scope: `base + l // repeat * stride` in lane l, or the vector `scattered`.

    `stride` is an i64 name or a number; 0 where all lanes agree.  `scattered` is a vector of `bits`; where the lanes
    are at known distances from lane 0's, these are `offsets`.
    """

    base: str
    stride: str | int = 0
    scattered: str = ""
    bits: int = 64
    repeat: int = 1
    offsets: tuple[int, ...] = ()


def is_varying(w: Writer, size: Size) -> bool:
    """Whether an index expression differs from lane to lane."""
    return w.lanes > 1 and any(isinstance(w.variables.get(name), VARYING) for name in size_names(size))


def place(w: Writer, size: Size, *, repeating: bool = False) -> Place:
    """The cheapest form of an index expression; one that repeats elements is given only if asked for."""
    if not is_varying(w, size):
        return Place(uniform(w, size))
    assert isinstance(size, Dim)
    moving = [name for name in size.names if isinstance(w.variables.get(name), VARYING)]
    if len(moving) == 1 and isinstance(w.variables[moving[0]], Ramp):
        stride = size.coefficient(moving[0])
        if stride is not None:
            return Place(uniform(w, size), stride if isinstance(stride, int) else uniform(w, stride))
        count = repeats(size, moving[0]) if repeating else None
        if count and w.lanes % count == 0 and w.variables[moving[0]].multiple % count == 0:  # type: ignore[union-attr]
            return Place(uniform(w, size), 1, repeat=count)
    offsets = _offsets(w, size, moving)
    if offsets is not None:
        step = offsets[1]
        if offsets == tuple(lane * step for lane in range(w.lanes)):
            return Place(uniform(w, size), step)
        if repeating:
            return Place(uniform(w, size), 0, vector(w, size, 64), offsets=offsets)
    bits = 32 if fits(w, size) else 64
    return Place("", 0, vector(w, size, bits), bits)


def _offsets(w: Writer, size: Dim, moving: list[str]) -> tuple[int, ...] | None:
    """How far the lanes are from lane 0, where that is known."""
    found = [0] * w.lanes
    for name in moving:
        variable, stride = w.variables[name], size.coefficient(name)
        if not isinstance(variable, Pattern) or not isinstance(stride, int):
            return None
        found = [total + stride * each for total, each in zip(found, variable.offsets, strict=True)]
    return tuple(found)


def uniform(w: Writer, size: Size) -> str:
    """The i64 of an index expression in lane 0."""
    if isinstance(size, int):
        return str(size)
    if (number := _number(w, size)) is not None:
        return number
    key = ("uniform", size, *_values(w, size))
    depths = {monomial: _depth(w, monomial) for monomial, _ in size.terms}
    deepest = max(depths.values())
    outer = Dim({m: c for m, c in size.terms if depths[m] < deepest}) + 0
    inner = Dim({m: c for m, c in size.terms if depths[m] == deepest})
    if outer == 0 or isinstance(outer, int):
        return w.hoisted(size.names, key, lambda: _sum(w, size))
    # What outer loops decide is summed there.
    return w.hoisted(size.names, key, lambda: w.f.let(f"add nsw i64 {uniform(w, outer)}, {_sum(w, inner)}"))


def _number(w: Writer, size: Dim) -> str | None:
    """The number that an index expression is where all its variables are numbers, as in loops that are written out."""
    values: dict[str, Size] = {}
    for name in size.names:
        variable = w.variables.get(name)
        base = getattr(variable, "name" if isinstance(variable, Uniform) else "base", "")
        if not base.isdigit():
            return None
        values[name] = int(base)
    return str(substitute(size, values))


def _depth(w: Writer, monomial: Monomial) -> int:
    names = Dim({monomial: 1}).names
    return max((w.depth(name) for name in names), default=0)


def _values(w: Writer, size: Dim) -> tuple[object, ...]:
    """What the names in an expression stand for: the same text means another value in another loop."""
    return tuple(w.variables.get(name) for name in sorted(size.names))


def _sum(w: Writer, size: Dim) -> str:
    total = ""
    for monomial, coefficient in size.terms:
        term = _product(w, monomial, coefficient)
        total = w.f.let(f"add nsw i64 {total}, {term}") if total else term
    return total


def _product(w: Writer, monomial: Monomial, coefficient: int) -> str:
    if not monomial:
        return str(coefficient)
    result = _atom(w, monomial[0])
    for atom in monomial[1:]:
        result = w.f.let(f"mul nsw i64 {result}, {_atom(w, atom)}")
    return result if coefficient == 1 else w.f.let(f"mul nsw i64 {result}, {coefficient}")


def _atom(w: Writer, atom: Atom) -> str:
    if isinstance(atom, str):
        variable = w.variables.get(atom)
        match variable:
            case Uniform(name):
                return name
            case Ramp(base) | Pattern(base):
                return base
            case Lanes(name):
                return w.f.let(f"extractelement <{w.lanes} x i64> {name}, i32 0")
        raise CompileError(f"an index uses {atom!r}, which is neither a size nor a variable around it")
    kind, left, right = atom
    key = ("atom", atom, *_values(w, left), *_values(w, right))
    return w.hoisted(left.names | right.names, key, lambda: _divide(w, kind, left, right))


def _divide(w: Writer, kind: str, left: Dim, right: Dim) -> str:
    """Floor division or remainder of i64."""
    f, natural = w.f, w.bounds.is_natural(left + 0)
    dividend, divisor = uniform(w, left + 0), _divisor(w, right)
    if natural:
        return f.let(f"{'udiv' if kind == '//' else 'urem'} i64 {dividend}, {divisor}")
    rest = f.let(f"srem i64 {dividend}, {divisor}")
    below = f.let(f"icmp slt i64 {rest}, 0")
    if kind == "%":
        return f.let(f"add nsw i64 {rest}, {f.let(f'select i1 {below}, i64 {divisor}, i64 0')}")
    quotient = f.let(f"sdiv i64 {dividend}, {divisor}")
    return f.let(f"add nsw i64 {quotient}, {f.let(f'sext i1 {below} to i64')}")


def _divisor(w: Writer, right: Dim) -> str:
    """A divisor, at least 1: an expression may be moved out of a loop that an empty axis never runs."""
    plain = right + 0
    if isinstance(plain, int):
        return str(plain)
    return greatest(w, uniform(w, plain), "1")


def greatest(w: Writer, left: str, right: str) -> str:
    """The greater of two i64."""
    if not left.startswith("%") and not right.startswith("%"):
        return str(max(int(left), int(right)))
    w.module.declare("declare i64 @llvm.smax.i64(i64, i64)")
    return w.f.let(f"call i64 @llvm.smax.i64(i64 {left}, i64 {right})")


def least(w: Writer, left: str, right: str) -> str:
    """The lesser of two i64."""
    if not left.startswith("%") and not right.startswith("%"):
        return str(min(int(left), int(right)))
    w.module.declare("declare i64 @llvm.smin.i64(i64, i64)")
    return w.f.let(f"call i64 @llvm.smin.i64(i64 {left}, i64 {right})")


# -- vectors ----------------------------------------------------------------------------------------------------------
def fits(w: Writer, size: Size) -> bool:
    """Whether an index expression and every part of it surely fits 32 bits."""
    magnitude = _magnitude(w, size)
    return magnitude is not None and magnitude < 2**31


def _magnitude(w: Writer, size: Size) -> int | None:
    """A bound on the sum of the absolute terms, and on every operand of a division in them."""
    if isinstance(size, int):
        return abs(size)
    total = largest = 0
    for monomial, coefficient in size.terms:
        term = abs(coefficient)
        for atom in monomial:
            bound = _atom_magnitude(w, atom)
            if bound is None:
                return None
            term, largest = term * bound, max(largest, bound)
        total += term
    return max(total, largest)


def _atom_magnitude(w: Writer, atom: Atom) -> int | None:
    if isinstance(atom, str):
        extent = w.bounds.extents.get(atom)
        return max(0, extent - 1) if isinstance(extent, int) else None
    left, right = _magnitude(w, atom[1] + 0), _magnitude(w, atom[2] + 0)
    return None if left is None or right is None else max(left, right) + 1


def vector(w: Writer, size: Size, bits: int) -> str:
    """An index expression in every lane, as a vector of i`bits`."""
    if isinstance(size, int):
        return integer_type(w, bits).constant(size)
    key = ("vector", size, bits, w.lanes, *_values(w, size))
    return w.hoisted(size.names, key, lambda: _vector_sum(w, size, bits))


def integer_type(w: Writer, bits: int) -> LLType:
    """The vector type of i`bits` at the lanes of the scope."""
    return LLType(I32 if bits == 32 else I64, w.lanes)


def _vector_sum(w: Writer, size: Dim, bits: int) -> str:
    """Terms that all lanes share are summed as scalars; a ramp adds its base there and its slope here.

    So does a pattern, whose slope are its offsets.
    """
    type = integer_type(w, bits)
    shared: Size = 0
    parts: list[str] = []
    for monomial, coefficient in size.terms:
        term = Dim({monomial: coefficient}) + 0
        moving = [atom for atom in monomial if _moves(w, atom)]
        if not moving:
            shared = shared + term
        elif len(moving) == 1 and isinstance(moving[0], str) and not isinstance(w.variables[moving[0]], Lanes):
            rest = list(monomial)
            rest.remove(moving[0])
            shared = shared + term
            parts.append(_slope(w, w.variables[moving[0]], Dim({tuple(rest): coefficient}) + 0, bits))
        else:
            parts.append(_vector_product(w, monomial, coefficient, bits))
    if shared != 0:
        parts.insert(0, _splat_narrow(w, uniform(w, shared), bits))
    total = parts[0]
    for part in parts[1:]:
        total = w.f.let(f"add {type.llvm} {total}, {part}")
    return total


def _slope(w: Writer, variable: Variable | None, coefficient: Size, bits: int) -> str:
    """A coefficient times what a variable adds to its value in lane 0."""
    type = integer_type(w, bits)
    offsets = variable.offsets if isinstance(variable, Pattern) else range(w.lanes)
    if isinstance(coefficient, int):
        return type.listed([coefficient * offset for offset in offsets])
    wide = _splat_narrow(w, uniform(w, coefficient), bits)
    return w.f.let(f"mul {type.llvm} {wide}, {type.listed(offsets)}")


def _splat_narrow(w: Writer, scalar: str, bits: int) -> str:
    type = integer_type(w, bits)
    if not scalar.startswith("%"):
        return type.constant(int(scalar))
    if bits == 32:
        scalar = w.f.let(f"trunc i64 {scalar} to i32")
    return splat(w.f, type, scalar)


def _moves(w: Writer, atom: Atom) -> bool:
    if isinstance(atom, str):
        return isinstance(w.variables.get(atom), VARYING)
    return is_varying(w, atom[1]) or is_varying(w, atom[2])


def _vector_product(w: Writer, monomial: Monomial, coefficient: int, bits: int) -> str:
    type = integer_type(w, bits)
    shared: Size = coefficient
    result = ""
    for atom in monomial:
        if not _moves(w, atom):
            shared = shared * (Dim({(atom,): 1}) + 0)
            continue
        factor = _vector_atom(w, atom, bits)
        result = w.f.let(f"mul {type.llvm} {result}, {factor}") if result else factor
    if shared == 1:
        return result
    return w.f.let(f"mul {type.llvm} {result}, {_splat_narrow(w, uniform(w, shared), bits)}")


def _vector_atom(w: Writer, atom: Atom, bits: int) -> str:
    type = integer_type(w, bits)
    if isinstance(atom, str):
        match w.variables[atom]:
            case (Ramp(base) | Pattern(base)) as variable:
                return w.f.let(f"add {type.llvm} {_splat_narrow(w, base, bits)}, {_slope(w, variable, 1, bits)}")
            case Lanes(name) if bits == 64:
                return name
            case Lanes(name):
                return w.f.let(f"trunc <{w.lanes} x i64> {name} to {type.llvm}")
        raise CompileError(f"variable {atom!r} does not vary")
    kind, left, right = atom
    quotient, rest = _vector_divide(w, left, right, bits)
    return quotient if kind == "//" else rest


def _vector_divide(w: Writer, left: Dim, right: Dim, bits: int) -> tuple[str, str]:
    """Floor quotient and remainder in every lane."""
    f, type = w.f, integer_type(w, bits)
    dividend = vector(w, left + 0, bits)
    if is_varying(w, right):
        divisor = f.intrinsic("smax", type, vector(w, right + 0, bits), type.constant(1))
    else:
        divisor = _splat_narrow(w, _divisor(w, right), bits)
    key = (dividend, divisor)
    if bits == 64:
        quotient = w.once(("quotient", *key), lambda: _quotient_by_doubles(w, dividend, divisor))
    else:
        natural = w.bounds.is_natural(left + 0)
        quotient = w.once(("quotient", *key), lambda: _quotient(w, type, dividend, divisor, natural))
    back = w.once(("back", *key), lambda: f.let(f"mul {type.llvm} {quotient}, {divisor}"))
    return quotient, w.once(("rest", *key), lambda: f.let(f"sub {type.llvm} {dividend}, {back}"))


def _quotient(w: Writer, type: LLType, dividend: str, divisor: str, natural: bool) -> str:
    f = w.f
    if natural:
        return f.let(f"udiv {type.llvm} {dividend}, {divisor}")
    rest = f.let(f"srem {type.llvm} {dividend}, {divisor}")
    below = f.let(f"icmp slt {type.llvm} {rest}, zeroinitializer")
    step = f.let(f"sext <{type.lanes} x i1> {below} to {type.llvm}")
    return f.let(f"add {type.llvm} {f.let(f'sdiv {type.llvm} {dividend}, {divisor}')}, {step}")


def _quotient_by_doubles(w: Writer, dividend: str, divisor: str) -> str:
    """floor(a / b) by double division, which vectors have where they have no 64-bit integer division.

    Exact for |a| < 2**52, more elements than an address space holds: a quotient just below an integer q differs from it
    by 1/b, and q*b < 2**53 says that half a unit in the last place of q is less.
    """
    f, integers, doubles = w.f, f"<{w.lanes} x i64>", f"<{w.lanes} x double>"
    a, b = (f.let(f"sitofp {integers} {x} to {doubles}") for x in (dividend, divisor))
    f.module.declare(f"declare {doubles} @llvm.floor.v{w.lanes}f64({doubles})")
    ratio = f.let(f"fdiv {doubles} {a}, {b}")
    floor = f.let(f"call {doubles} @llvm.floor.v{w.lanes}f64({doubles} {ratio})")
    return f.let(f"fptosi {doubles} {floor} to {integers}")
