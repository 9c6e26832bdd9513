"""Reading sizes, types, literals and attributes: the inverse of `literals`.

Polynomials are limited in terms, degree and digits, so that no short text makes long work.
"""

from __future__ import annotations

import json
import re
from math import prod

from adjit.ir.builder import Scalar
from adjit.ir.graph import Attribute, Graph
from adjit.ir.lexer import Lexer
from adjit.ir.literals import RESERVED
from adjit.ir.shape import Dim, Size
from adjit.ir.types import DTYPES, DType, TensorType

MAX_DEPTH = 16
MAX_TERMS = 64
MAX_DEGREE = 16
MAX_FACTORS = 512
MAX_BITS = 256
MAX_RANK = 64
MAX_PRODUCT = 4096

_FLOAT = re.compile(r"-?(?:(?:inf|nan)\b|[0-9]{1,400}(?:\.[0-9]{0,400}(?:[eE][+-]?[0-9]{1,9})?|[eE][+-]?[0-9]{1,9}))")
_TYPE = re.compile(r"[a-z]+[0-9]*\[[^\[\]\n]*\]")
_ATTRIBUTES = re.compile(r"\{\s*\w+\s*=")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}


class Literals:
    """Reads from a lexer what is not a value; `graphs` has the functions that may be named."""

    def __init__(self, lexer: Lexer, graphs: dict[str, Graph]) -> None:
        self.lexer = lexer
        self.graphs = graphs
        self.seen: dict[str, TensorType] = {}

    # -- types ------------------------------------------------------------------------------------------------------
    def type(self) -> TensorType:
        """`f32[n, 3]`"""
        lexer = self.lexer
        match = _TYPE.match(lexer.text, lexer.start)
        known = self.seen.get(match.group()) if match else None
        if match and known is not None:
            lexer.jump(match.end())
            return known
        if lexer.kind != "name" or lexer.token not in DTYPES:
            lexer.fail(f"expected a type, as f32[n, 3], found {lexer.found}")
        begin = lexer.start
        dtype = DTYPES[lexer.advance()]
        type = TensorType(dtype, self.dims())
        self.seen[lexer.text[begin : lexer.previous_end]] = type
        return type

    def dims(self) -> tuple[Size, ...]:
        lexer = self.lexer
        lexer.expect("[", "and the dims of a type")
        dims: list[Size] = []
        while lexer.token != "]":
            if dims:
                lexer.expect(",", "or ']'")
            position = lexer.start
            dims.append(self.size())
            dim = dims[-1]
            if isinstance(dim, int) and dim < 0:
                lexer.fail(f"a dim is {dim}", position)
            if len(dims) > MAX_RANK:
                lexer.fail(f"a type has more than {MAX_RANK} dims")
            self.multipliable(tuple(dims), position)
        lexer.advance()
        return tuple(dims)

    def multipliable(self, shape: Attribute, position: int) -> None:
        """Fail where the product of the sizes in a list, which an op's rule may want, has too many terms."""
        items = shape if isinstance(shape, tuple) else ()
        if prod(_terms(item) for item in items if isinstance(item, Dim)) > MAX_PRODUCT:
            self.lexer.fail(f"the product of these sizes has more than {MAX_PRODUCT} terms", position)

    def suffix(self) -> DType | None:
        """The dtype after a literal: `2.0:f64`."""
        lexer = self.lexer
        if lexer.token != ":" or lexer.kind != "symbol":
            return None
        back = lexer.previous_end
        lexer.advance()
        if lexer.token in DTYPES and lexer.text[lexer.end : lexer.end + 1] != "[":
            return DTYPES[lexer.advance()]
        lexer.jump(back)
        return None

    # -- numbers ----------------------------------------------------------------------------------------------------
    def literal(self) -> Scalar:
        """A number, true, false, or a size."""
        lexer = self.lexer
        if lexer.kind == "name" and lexer.token in ("true", "false"):
            return lexer.advance() == "true"
        match = _FLOAT.match(lexer.text, lexer.start)
        if match:
            lexer.jump(match.end())
            return float(match.group())
        if lexer.kind not in ("number", "name") and lexer.token not in ("-", "("):
            lexer.fail(f"expected an operand, found {lexer.found}")
        return self.size()

    def size(self, depth: int = 0) -> Size:
        """`2*n + 1`, with the operators + - * // % and parentheses."""
        lexer = self.lexer
        total = self.term(depth)
        while lexer.kind == "symbol" and lexer.token in ("+", "-"):
            position = lexer.start
            sign = lexer.advance()
            right = self.term(depth)
            total = self.limited(total + right if sign == "+" else total - right, position)
        return total

    def term(self, depth: int) -> Size:
        lexer = self.lexer
        negative = False
        while lexer.accept("-"):
            negative = not negative
        total = self.atom(depth)
        if negative:
            total = -total
        while lexer.kind == "symbol" and lexer.token in ("*", "//", "%"):
            position = lexer.start
            operator = lexer.advance()
            right = self.atom(depth)
            if operator == "*":
                if _terms(total) * _terms(right) > 4 * MAX_TERMS:
                    lexer.fail(f"a size has more than {MAX_TERMS} terms", position)
                total = total * right
            elif right == 0:
                lexer.fail("a size is divided by 0", position)
            else:
                total = total // right if operator == "//" else total % right
            self.limited(total, position)
        return total

    def atom(self, depth: int) -> Size:
        lexer = self.lexer
        if lexer.kind == "number":
            position = lexer.start
            return self.limited(int(lexer.advance()), position)
        if lexer.kind == "name":
            if lexer.token in RESERVED:
                lexer.fail(f"expected a size, found {lexer.found}")
            return Dim.named(lexer.advance())
        if lexer.token == "(" and lexer.kind == "symbol":
            if depth == MAX_DEPTH:
                lexer.fail(f"parentheses are nested more than {MAX_DEPTH} deep")
            lexer.advance()
            inner = self.size(depth + 1)
            lexer.expect(")", "in a size")
            return inner
        lexer.fail(f"expected a size, found {lexer.found}")

    def limited(self, size: Size, position: int) -> Size:
        """The size, unless it is larger than any program needs."""
        terms = size.terms if isinstance(size, Dim) else (((), size),)
        if len(terms) > MAX_TERMS:
            self.lexer.fail(f"a size has more than {MAX_TERMS} terms", position)
        for monomial, coefficient in terms:
            if len(monomial) > MAX_DEGREE:
                self.lexer.fail(f"a size has a degree above {MAX_DEGREE}", position)
            if coefficient.bit_length() > MAX_BITS:
                self.lexer.fail(f"a number has more than {MAX_BITS} bits", position)
        depth, factors = _extent(size)
        if depth > MAX_DEPTH or factors > MAX_FACTORS:
            self.lexer.fail("a size nests too many divisions", position)
        return size

    # -- attributes -------------------------------------------------------------------------------------------------
    def at_attributes(self) -> bool:
        """Whether the brace at hand opens attributes and not a region."""
        return _ATTRIBUTES.match(self.lexer.text, self.lexer.start) is not None

    def attributes(self) -> dict[str, Attribute]:
        """`{axes=[0, 1], kind="sum"}`"""
        lexer = self.lexer
        lexer.expect("{")
        found: dict[str, Attribute] = {}
        while lexer.token != "}" or lexer.kind == "string":
            if found:
                lexer.expect(",", "or '}'")
            position = lexer.start
            name = lexer.take("name", "the name of an attribute")
            if name in found:
                lexer.fail(f"{name} is given twice", position)
            lexer.expect("=")
            found[name] = self.attribute(0)
        lexer.advance()
        return found

    def attribute(self, depth: int) -> Attribute:
        lexer = self.lexer
        if lexer.kind == "string":
            try:
                text = json.loads(lexer.token)
            except ValueError as error:
                lexer.fail(f"a string is not well formed: {error}")
            lexer.advance()
            return str(text)
        if lexer.kind == "graph":
            return self.graphs[lexer.advance()[1:]]
        if lexer.token == "[" and lexer.kind == "symbol":
            return self.tuple(depth)
        if lexer.kind == "name" and lexer.token in _WORDS:
            return _WORDS[lexer.advance()]
        if lexer.kind == "name" and lexer.token in DTYPES:
            return self.type() if lexer.text[lexer.end : lexer.end + 1] == "[" else DTYPES[lexer.advance()]
        if lexer.kind not in ("number", "name") and lexer.token not in ("-", "("):
            lexer.fail(f"expected an attribute, found {lexer.found}")
        return self.literal()

    def tuple(self, depth: int) -> Attribute:
        lexer = self.lexer
        if depth == MAX_DEPTH:
            lexer.fail(f"lists are nested more than {MAX_DEPTH} deep")
        lexer.advance()
        items: list[Attribute] = []
        while lexer.token != "]" or lexer.kind == "string":
            if items:
                lexer.expect(",", "or ']'")
            items.append(self.attribute(depth + 1))
        lexer.advance()
        return tuple(items)


def _terms(size: Size) -> int:
    return len(size.terms) if isinstance(size, Dim) else 1


def _extent(size: Size) -> tuple[int, int]:
    """How deep divisions are nested in a size, and the number of its factors, those of nested sizes included."""
    deepest, total = 0, 0
    for monomial, _ in size.terms if isinstance(size, Dim) else ():
        for factor in monomial:
            total += 1
            if not isinstance(factor, str):
                for operand in factor[1:]:
                    depth, factors = _extent(operand)
                    deepest, total = max(deepest, depth + 1), total + factors
    return deepest, total
