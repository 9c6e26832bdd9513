"""Plain functions over 64-bit words, written as Python, translated to LLVM text.

The glue between Python objects and kernels is loads, stores, comparisons and calls of the interpreter's C functions.
It is written as ordinary Python functions of integers, so that it can be read and checked like the rest:

    def is_none(value: int) -> int:
        return value == known(NONE)

Every value is a signed 64-bit word, an address too.  Statements: assignment, `if`, `while`, `return`, a call.
Expressions: integers, names, `+ - * & | ^ << >>` (`>>` shifts in zeros), `// %` of natural numbers, comparisons,
`and or not`, calls of functions beside it, of C functions (`EXTERNALS`), and of the memory functions below.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, NoReturn

from adjit.ir.errors import CompileError

# By name: LLVM's result type, and the types of the parameters.
External = tuple[str, tuple[str, ...]]
KNOWN = "adjit_known"
# Whether an object begins with a count of references that is never anything else: later objects may be immortal, and
# interpreters built to trace references keep more.
PLAIN_COUNTS = (
    sys.implementation.name == "cpython" and sys.version_info < (3, 12)
    and not hasattr(sys, "getobjects") and not hasattr(sys, "gettotalrefcount")
)  # fmt: skip
# A function of at most so many lines is inlined wherever it is called.
_INLINED = 40
# How often a source is parsed before an error of the parser counts.
_TRIES = 20


def native_only(*_: int) -> NoReturn:
    """What stands for the body of a function that is native."""
    raise NotImplementedError("a word function runs only as native code")


def word(address: int) -> int:
    """The 64-bit word at an address."""
    native_only(address)


def half(address: int) -> int:
    """The signed 32-bit integer at an address."""
    native_only(address)


def byte(address: int) -> int:
    """The byte at an address."""
    native_only(address)


def set_word(address: int, value: int) -> int:
    """Store a word."""
    native_only(address, value)


def set_half(address: int, value: int) -> int:
    """Store the low 32 bits of a word."""
    native_only(address, value)


def set_byte(address: int, value: int) -> int:
    """Store the low 8 bits of a word."""
    native_only(address, value)


def known(number: int) -> int:
    """An entry of the table of addresses and offsets that the module was loaded with."""
    native_only(number)


def room(words: int) -> int:
    """The address of as many words on the stack, kept until the function returns; the count is a literal."""
    native_only(words)


def invoke(function: int, *arguments: int) -> int:
    """Call native code at an address with words, for a word."""
    native_only(function, *arguments)


def run(function: int, buffers: int, sizes: int) -> int:
    """Call a program's main function, which returns nothing."""
    native_only(function, buffers, sizes)


def single(bits: int) -> int:
    """The bits of a float64, rounded to the bits of a float32."""
    native_only(bits)


def widened(bits: int) -> int:
    """The bits of a float32 as those of a float64."""
    native_only(bits)


def double(value: int) -> int:
    """The bits of an integer as float64."""
    native_only(value)


_BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
    ast.LShift: "shl", ast.RShift: "lshr", ast.FloorDiv: "udiv", ast.Mod: "urem",
}  # fmt: skip
_COMPARED = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge"}
_STORES = {"set_word": "i64", "set_half": "i32", "set_byte": "i8"}


def translate(
    functions: Sequence[Callable[..., int | None]],
    externals: Mapping[str, External],
    exports: Sequence[str],
    *,
    table: bool = True,
) -> str:
    """LLVM text of a set of functions that may call one another; those in `exports` keep their names for the loader.

    With `table` they may ask what is `known`.
    """
    own = {function.__name__: function for function in functions}
    lines = [f"@{KNOWN} = external global i64"] * table
    lines += [f"declare {result} @{name}({', '.join(types)})" for name, (result, types) in externals.items()]
    for function in functions:
        assert isinstance(function, FunctionType)
        lines += _Translation(function, own, externals, function.__name__ in exports).text()
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=1)
def _definitions(path: str) -> dict[str, ast.FunctionDef]:
    """The functions of a module, by name.  CompileError where its source is not at hand."""
    source = "".join(linecache.getlines(path))
    if not source:
        raise CompileError(f"the source of {path} is needed to compile it")
    return {node.name: node for node in _parsed(source).body if isinstance(node, ast.FunctionDef)}


def _parsed(source: str) -> ast.Module:
    """The syntax tree of a source.

    CPython 3.11 counts the depth of trees that are being made for all threads together, and raises SystemError where
    two were made at a time: then it is asked again.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


@dataclass
class _Translation:
    """One function on its way to text."""

    function: FunctionType
    own: Mapping[str, Callable[..., int | None]]
    externals: Mapping[str, External]
    exported: bool
    lines: list[str] = field(default_factory=list)
    locals: dict[str, None] = field(default_factory=dict)
    rooms: list[int] = field(default_factory=list)
    count: int = 0

    def text(self) -> list[str]:
        tree = _definitions(self.function.__code__.co_filename)[self.function.__name__]
        parameters = [argument.arg for argument in tree.args.args]
        self.locals = dict.fromkeys(parameters)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.locals[node.id] = None
        for statement in tree.body:
            self.statement(statement)
        linkage = "" if self.exported else "internal "
        small = "alwaysinline " if not self.exported and len(self.lines) <= _INLINED else ""
        given = ", ".join(f"i64 %{name}.in" for name in parameters)
        head = f"define {linkage}i64 @{tree.name}({given}) {small}nounwind {{"
        start = [f"  %{name} = alloca i64" for name in self.locals]
        start += [f"  %room{number} = alloca [{words} x i64], align 16" for number, words in enumerate(self.rooms)]
        start += [f"  store i64 %{name}.in, ptr %{name}" for name in parameters]
        return [head, *start, *self.lines, "  ret i64 0", "}", ""]

    # -- lines ------------------------------------------------------------------------------------------------------
    def let(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %.{self.count} = {text}")
        return f"%.{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self) -> str:
        self.count += 1
        return f"at.{self.count}"

    def start(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def refuse(self, node: ast.AST, what: str) -> CompileError:
        return CompileError(f"{self.function.__name__}, line {getattr(node, 'lineno', 0)}: {what} in a word function")

    # -- statements -------------------------------------------------------------------------------------------------
    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.line(f"store i64 {self.value(value)}, ptr %{name}")
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                present = self.let(f"load i64, ptr %{name}")
                found = self.let(f"{_BINARY[type(op)]} i64 {present}, {self.value(value)}")
                self.line(f"store i64 {found}, ptr %{name}")
            case ast.Return(value=value) if value is not None:
                self.line(f"ret i64 {self.value(value)}")
                self.start(self.label())
            case ast.If(test=test, body=body, orelse=other):
                then, otherwise, after = self.label(), self.label(), self.label()
                self.branch(test, then, otherwise)
                self.block(then, body, after)
                self.block(otherwise, other, after)
                self.start(after)
            case ast.While(test=test, body=body):
                again, inside, after = self.label(), self.label(), self.label()
                self.line(f"br label %{again}")
                self.start(again)
                self.branch(test, inside, after)
                self.block(inside, body, again)
                self.start(after)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=value):
                self.value(value)
            case _:
                raise self.refuse(node, type(node).__name__)

    def block(self, label: str, body: Sequence[ast.stmt], after: str) -> None:
        self.start(label)
        for statement in body:
            self.statement(statement)
        self.line(f"br label %{after}")

    def branch(self, test: ast.expr, then: str, otherwise: str) -> None:
        """Jump by a condition; `and`, `or` and `not` look no further than they must."""
        match test:
            case ast.BoolOp(op=op, values=[*first, last]):
                for part in first:
                    following = self.label()
                    if isinstance(op, ast.And):
                        self.branch(part, following, otherwise)
                    else:
                        self.branch(part, then, following)
                    self.start(following)
                self.branch(last, then, otherwise)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.branch(operand, otherwise, then)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                found = self.let(f"icmp {_COMPARED[type(op)]} i64 {self.value(left)}, {self.value(right)}")
                self.line(f"br i1 {found}, label %{then}, label %{otherwise}")
            case _:
                found = self.let(f"icmp ne i64 {self.value(test)}, 0")
                self.line(f"br i1 {found}, label %{then}, label %{otherwise}")

    # -- expressions ------------------------------------------------------------------------------------------------
    def value(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=int(number)):
                return str(int(number))
            case ast.Name(id=name):
                if name in self.locals:
                    return self.let(f"load i64, ptr %{name}")
                return str(self.number(node))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.let(f"sub i64 0, {self.value(operand)}")
            case ast.BinOp(left=left, op=op, right=right):
                return self.let(f"{_BINARY[type(op)]} i64 {self.value(left)}, {self.value(right)}")
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self.truth(node)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(node, name, arguments)
        raise self.refuse(node, type(node).__name__)

    def number(self, node: ast.expr) -> int:
        """A literal or a constant of the function's module."""
        found: Any = None
        if isinstance(node, ast.Name):
            found = self.function.__globals__.get(node.id)
        elif isinstance(node, ast.Constant):
            found = node.value
        if not isinstance(found, int):
            raise self.refuse(node, f"{ast.unparse(node)}, which is no integer,")
        return int(found)

    def truth(self, test: ast.expr) -> str:
        yes, no, after = self.label(), self.label(), self.label()
        self.branch(test, yes, no)
        for label in (yes, no):
            self.start(label)
            self.line(f"br label %{after}")
        self.start(after)
        return self.let(f"phi i64 [1, %{yes}], [0, %{no}]")

    def pointer(self, node: ast.expr) -> str:
        return self.let(f"inttoptr i64 {self.value(node)} to ptr")

    def call(self, node: ast.expr, name: str, arguments: Sequence[ast.expr]) -> str:
        if name == "word":
            return self.let(f"load i64, ptr {self.pointer(arguments[0])}")
        if name == "half":
            found = self.let(f"load i32, ptr {self.pointer(arguments[0])}")
            return self.let(f"sext i32 {found} to i64")
        if name == "byte":
            found = self.let(f"load i8, ptr {self.pointer(arguments[0])}")
            return self.let(f"zext i8 {found} to i64")
        if name in _STORES:
            address, found, type = self.pointer(arguments[0]), self.value(arguments[1]), _STORES[name]
            narrow = found if type == "i64" else self.let(f"trunc i64 {found} to {type}")
            self.line(f"store {type} {narrow}, ptr {address}")
            return "0"
        if name == "known":
            place = self.let(f"getelementptr i64, ptr @{KNOWN}, i64 {self.value(arguments[0])}")
            return self.let(f"load i64, ptr {place}")
        if name == "room":
            self.rooms.append(self.number(arguments[0]))
            return self.let(f"ptrtoint ptr %room{len(self.rooms) - 1} to i64")
        if name in ("single", "double", "widened"):
            return self.convert(name, self.value(arguments[0]))
        if name in ("invoke", "run"):
            return self.indirect(name, arguments)
        given = [self.value(argument) for argument in arguments]
        if name in self.own:
            return self.let(f"call i64 @{name}({', '.join(f'i64 {x}' for x in given)})")
        if name in self.externals:
            return self.external(name, given)
        raise self.refuse(node, f"a call of {name}")

    def convert(self, name: str, found: str) -> str:
        if name == "double":
            number = self.let(f"sitofp i64 {found} to double")
            return self.let(f"bitcast double {number} to i64")
        if name == "widened":
            short = self.let(f"bitcast i32 {self.let(f'trunc i64 {found} to i32')} to float")
            return self.let(f"bitcast double {self.let(f'fpext float {short} to double')} to i64")
        number = self.let(f"bitcast i64 {found} to double")
        short = self.let(f"fptrunc double {number} to float")
        bits = self.let(f"bitcast float {short} to i32")
        return self.let(f"zext i32 {bits} to i64")

    def indirect(self, name: str, arguments: Sequence[ast.expr]) -> str:
        function = self.pointer(arguments[0])
        given = ", ".join(f"i64 {self.value(argument)}" for argument in arguments[1:])
        if name == "invoke":
            return self.let(f"call i64 {function}({given})")
        self.line(f"call void {function}({given})")
        return "0"

    def external(self, name: str, given: Sequence[str]) -> str:
        result, types = self.externals[name]
        if name == "Py_IncRef" and PLAIN_COUNTS:
            place = self.let(f"inttoptr i64 {given[0]} to ptr")
            count = self.let(f"load i64, ptr {place}")
            self.line(f"store i64 {self.let(f'add i64 {count}, 1')}, ptr {place}")
            return "0"
        passed = [
            f"{type} {x if type == 'i64' else self.let(f'bitcast i64 {x} to {type}')}"
            for type, x in zip(types, given, strict=True)
        ]
        text = f"call {result} @{name}({', '.join(passed)})"
        if result == "void":
            self.line(text)
            return "0"
        found = self.let(text)
        return found if result == "i64" else self.let(f"sext {result} {found} to i64")
