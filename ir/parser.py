"""Text to graphs: the inverse of `printer`.

The text may come from anyone: sizes and depths are limited, nothing is executed, and every failure is a ParseError with
line and column.  Types are inferred again and must equal the written ones; ops of the loop level take the written ones.
`verify` checks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from adjit.ir.builder import Builder, Scalar, literal_dtype
from adjit.ir.errors import ParseError
from adjit.ir.graph import UNKNOWN, Attribute, Graph, Guard, Location, Node, Region, Value
from adjit.ir.lexer import Lexer, error_at
from adjit.ir.literal_parser import Literals
from adjit.ir.literals import literal_fault
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.ir.printer import value_names
from adjit.ir.types import BOOL, DType, TensorType
from adjit.ir.verify import signature_fault

MAX_CHARACTERS = 1 << 26
MAX_DEPTH = 64

_LOCATION = re.compile(r"(?:(\S+) )?(.*?):([0-9]{1,9})(?:   (.*))?")
# What matters for the calls between functions: strings, comments and values are skipped whole.
_OUTLINE = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|#[^\n]*|%[\w.]+|@[\w.]+|\bfunc\b")


def parse(text: str) -> Graph:
    """The first function of `text`, with those it calls.  Errors: ParseError."""
    if len(text) > MAX_CHARACTERS:
        raise ParseError(f"line 1:1: the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    starts, references = _outline(text)
    if not starts:
        raise error_at(text, Lexer(text).start, "expected 'func', found no function")
    first = next(iter(starts))
    if Lexer(text).start != starts[first]:
        Lexer(text).expect("func")
    graphs: dict[str, Graph] = {}
    for name in _callees_first(text, starts, references):
        graphs[name] = _Function(Lexer(text, starts[name]), graphs).parse()
    return graphs[first]


def _outline(text: str) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Where each function begins, and for each the positions where it first mentions others."""
    starts: dict[str, int] = {}
    references: dict[str, dict[str, int]] = {}
    pending: int | None = None
    current = ""
    for match in _OUTLINE.finditer(text):
        token = match.group()
        if token == "func":
            pending = match.start()
        elif token[0] == "@" and pending is not None:
            current = token[1:]
            if current in starts:
                raise error_at(text, match.start(), f"a second function is called {token}")
            starts[current], references[current] = pending, {}
            pending = None
        elif token[0] == "@" and current:
            references[current].setdefault(token[1:], match.start())
    return starts, references


def _callees_first(text: str, starts: dict[str, int], references: dict[str, dict[str, int]]) -> list[str]:
    order: list[str] = []
    done: dict[str, bool] = {}
    for root in starts:
        stack = [root]
        while stack:
            name = stack[-1]
            if name in done:
                stack.pop()
                if not done[name]:
                    done[name] = True
                    order.append(name)
                continue
            done[name] = False
            for callee, position in references[name].items():
                if callee not in starts:
                    raise error_at(text, position, f"no function is called @{callee}")
                if done.get(callee) is False:
                    raise error_at(text, position, f"@{callee} calls itself: recursion is not in the IR")
                if callee not in done:
                    stack.append(callee)
    return order


class _Function:
    """Reads one function; `graphs` has those it may call."""

    def __init__(self, lexer: Lexer, graphs: dict[str, Graph]) -> None:
        self.lexer = lexer
        self.literals = Literals(lexer, graphs)
        # The names visible in each open region; None marks the border of an isolated one.
        self.scopes: list[dict[str, Value] | None] = [{}]
        self.written: dict[Value, str] = {}

    def parse(self) -> Graph:
        lexer = self.lexer
        lexer.expect("func")
        graph = Graph(lexer.take("graph", "the function's name, as @name")[1:])
        graph.inputs = self.declared()
        lexer.expect("->", "and the results' types")
        results = self.result_types()
        graph.guards = self.guards()
        targets = self.writes(graph)
        graph.approximate = lexer.accept("approximate")
        lexer.expect("{", "at the beginning of the function's body")
        self.statements(graph, 1, results)
        if lexer.kind != "end" and lexer.token != "func":
            lexer.fail(f"expected another function or the end of the text, found {lexer.found}")
        for _, output, position in targets:
            if output >= len(graph.outputs):
                lexer.fail(f"a write names output {output} of {len(graph.outputs)}", position)
        graph.writes = tuple((target, output) for target, output, _ in targets)
        self.forget_numbers(graph)
        return graph

    def forget_numbers(self, graph: Graph) -> None:
        """Take numbers for what they are, not for names, where numbering would give the same."""
        fixed = set(graph.inputs)
        numbered = [value for value, name in self.written.items() if name.isdecimal() and value not in fixed]
        for value in numbered:
            value.name = None
        names = value_names(graph)
        if any(names.get(value) != self.written[value] for value in numbered):
            for value in numbered:
                value.name = self.written[value]

    # -- header -----------------------------------------------------------------------------------------------------
    def declared(self) -> tuple[Value, ...]:
        """`(%x: f32[n], ...)`"""
        lexer = self.lexer
        lexer.expect("(", "and the inputs")
        values: list[Value] = []
        while lexer.token != ")":
            if values:
                lexer.expect(",", "or ')'")
            position = lexer.start
            name = lexer.take("value", "an input, as %name: type")[1:]
            lexer.expect(":", "and the input's type")
            value = Value(self.literals.type(), name)
            self.define(value, name, position)
            values.append(value)
        lexer.advance()
        return tuple(values)

    def result_types(self) -> list[TensorType]:
        lexer = self.lexer
        lexer.expect("(")
        types: list[TensorType] = []
        while lexer.token != ")":
            if types:
                lexer.expect(",", "or ')'")
            types.append(self.literals.type())
        lexer.advance()
        return types

    def guards(self) -> tuple[Guard, ...]:
        lexer = self.lexer
        guards: list[Guard] = []
        if lexer.accept("where"):
            while not guards or lexer.accept(","):
                left = self.literals.size()
                if lexer.token not in ("==", "!=", ">=", ">"):
                    lexer.fail(f"expected ==, !=, >= or > in a guard, found {lexer.found}")
                relation = lexer.advance()
                guards.append(Guard(left, relation, self.literals.size()))
        return tuple(guards)

    def writes(self, graph: Graph) -> list[tuple[int, int, int]]:
        """`writes(%w <- 1)` as (input, output, position in the text)."""
        lexer = self.lexer
        pairs: list[tuple[int, int, int]] = []
        if lexer.accept("writes"):
            lexer.expect("(")
            while not pairs or lexer.accept(","):
                position = lexer.start
                value = self.value()
                lexer.expect("<-")
                index = int(lexer.take("number", "the index of an output"))
                pairs.append((graph.inputs.index(value), index, position))
            lexer.expect(")")
        return pairs

    # -- statements -------------------------------------------------------------------------------------------------
    def statements(self, region: Region, depth: int, results: Sequence[TensorType] | None) -> None:
        """The body of a region, its `return`, and its closing brace; `results` are the types it must return."""
        lexer = self.lexer
        if depth > MAX_DEPTH:
            lexer.fail(f"regions are nested more than {MAX_DEPTH} deep")
        builder = Builder(region)
        while lexer.token != "}" or lexer.kind == "string":
            if lexer.accept("return"):
                region.outputs = self.returned(builder)
                break
            if lexer.kind == "end":
                lexer.fail("expected '}' at the end of a body, found the end of the text")
            self.statement(builder, depth)
        position = lexer.start
        lexer.expect("}", "at the end of a body")
        found = [value.type for value in region.outputs]
        if results is not None and found != list(results):
            lexer.fail(f"the body returns ({_list(found)}), the header says ({_list(results)})", position)

    def returned(self, builder: Builder) -> tuple[Value, ...]:
        lexer = self.lexer
        values: list[Value] = []
        if lexer.token == "}":
            return ()
        while not values or lexer.accept(","):
            if lexer.kind == "value":
                values.append(self.value())
                continue
            position = lexer.start
            number, dtype = self.literals.literal(), self.literals.suffix()
            values.append(self.constant(builder, number, dtype, position, "return"))
        return tuple(values)

    def statement(self, builder: Builder, depth: int) -> None:
        lexer = self.lexer
        names: list[tuple[str, int]] = []
        while lexer.kind == "value":
            position = lexer.start
            names.append((lexer.advance()[1:], position))
            if not lexer.accept(","):
                lexer.expect("=", "after the results' names")
                break
        position = lexer.start
        op = self.op()
        inputs = self.operands(builder, op)
        attributes = self.literals.attributes() if lexer.token == "{" and self.literals.at_attributes() else {}
        fault = signature_fault(op, len(inputs), attributes)
        if fault:
            lexer.fail(fault, position)
        if op.infer_rule is not None:
            for attribute in attributes.values():
                self.literals.multipliable(attribute, position)
        types_position = lexer.start
        types = self.types() if names else []
        location = _location(lexer.comment)
        regions, location = self.regions(op, depth, location)
        if len(types) != len(names):
            lexer.fail(f"{len(names)} results and {len(types)} types", types_position)
        self.check_types(op, inputs, attributes, regions, types, position, types_position)
        node = Node(op, inputs, attributes, types, location, regions)
        builder.region.nodes.append(node)
        for value, (name, at) in zip(node.outputs, names, strict=True):
            value.name = name
            self.define(value, name, at)

    def op(self) -> Primitive:
        lexer = self.lexer
        op = PRIMITIVES.get(lexer.token) if lexer.kind == "name" else None
        if op is None:
            lexer.fail(f"expected an op, found {lexer.found}" if lexer.kind != "name" else f"unknown op {lexer.found}")
        lexer.advance()
        return op

    def operands(self, builder: Builder, op: Primitive) -> list[Value]:
        lexer = self.lexer
        given: list[Value | tuple[Scalar, DType | None, int]] = []
        literal = False
        if lexer.new_line or lexer.token in ("{", ":", "}"):
            return []
        while not given or lexer.accept(","):
            if lexer.kind == "value":
                given.append(self.value())
            else:
                position = lexer.start
                given.append((self.literals.literal(), self.literals.suffix(), position))
                literal = True
        if not literal:
            return given  # type: ignore[return-value]
        usual = literal_dtype(op, [item.type.dtype if isinstance(item, Value) else None for item in given])
        return [
            item if isinstance(item, Value) else self.constant(builder, item[0], item[1] or usual, item[2], op.name)
            for item in given
        ]

    def constant(self, builder: Builder, number: Scalar, dtype: DType | None, position: int, where: str) -> Value:
        if isinstance(number, bool):
            dtype = BOOL
        if dtype is None:
            self.lexer.fail(f"nothing in {where} gives this literal a dtype: write it as in 2:f32", position)
        fault = literal_fault(number, dtype)
        if fault:
            self.lexer.fail(fault, position)
        return builder.constant(number, dtype)

    def types(self) -> list[TensorType]:
        self.lexer.expect(":", "and the results' types")
        types = [self.literals.type()]
        while self.lexer.accept(","):
            types.append(self.literals.type())
        return types

    def regions(self, op: Primitive, depth: int, location: Location) -> tuple[list[Region], Location]:
        """The regions after an op's line, and the op's location, which may stand after the brace of an only region."""
        lexer = self.lexer
        regions: list[Region] = []
        if lexer.token == "{" and not lexer.new_line:
            lexer.advance()
            location = _location(lexer.comment)
            regions.append(self.region(op, depth, declared=False))
            return regions, location
        while lexer.token == "region" and lexer.kind == "name":
            lexer.advance()
            regions.append(self.region(op, depth, declared=True))
        return regions, location

    def region(self, op: Primitive, depth: int, declared: bool) -> Region:
        border: list[dict[str, Value] | None] = [None] if op.isolated else []
        outside = len(self.scopes)
        self.scopes += [*border, {}]
        region = Region(self.declared() if declared else ())
        if declared:
            self.lexer.expect("{", "at the beginning of a region")
        self.statements(region, depth + 1, None)
        del self.scopes[outside:]
        return region

    def check_types(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        regions: Sequence[Region],
        written: list[TensorType],
        position: int,
        types_position: int,
    ) -> None:
        """The written types are the inferred ones, where the op infers any."""
        if op.infer_rule is None:
            return
        given = {**attributes, "regions": tuple(regions)} if regions else attributes
        try:
            inferred = op.infer([value.type for value in inputs], given)  # type: ignore[arg-type]
        except Exception as error:
            # A rule may fail in any way on attributes that no program of ours would write.
            reason = str(error) or type(error).__name__
            raise error_at(self.lexer.text, position, f"{op.name} does not fit: {reason}") from error
        if list(inferred) != written:
            message = f"{op.name} gives {_list(inferred) or 'no result'}, not {_list(written) or 'nothing'}"
            self.lexer.fail(message, types_position)

    # -- names ------------------------------------------------------------------------------------------------------
    def define(self, value: Value, name: str, position: int) -> None:
        if self.lookup(name) is not None:
            self.lexer.fail(f"%{name} is defined twice", position)
        scope = self.scopes[-1]
        assert scope is not None
        scope[name] = value
        self.written[value] = name

    def lookup(self, name: str) -> Value | None:
        for scope in reversed(self.scopes):
            if scope is None:
                return None
            if name in scope:
                return scope[name]
        return None

    def value(self) -> Value:
        lexer = self.lexer
        if lexer.kind != "value":
            lexer.fail(f"expected a value, as %name, found {lexer.found}")
        value = self.lookup(lexer.token[1:])
        if value is None:
            hidden = any(scope is not None and lexer.token[1:] in scope for scope in self.scopes)
            reason = "is outside: this region sees only its inputs" if hidden else "is not defined"
            lexer.fail(f"{lexer.token} {reason}")
        lexer.advance()
        return value


def _location(comment: str | None) -> Location:
    """`# ∂ train.py:12   note` as a location; UNKNOWN for any other comment."""
    match = _LOCATION.fullmatch(comment[1:].strip()) if comment else None
    if match is None:
        return UNKNOWN
    origin, file, line, note = match.groups()
    return Location(file, int(line), origin or "", note or "")


def _list(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types))
