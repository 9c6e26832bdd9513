"""Finding the function behind a line, and giving it rewritten code while a trace runs."""

from __future__ import annotations

import ast
import gc
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from adjit.capture.rewrite import NotCapturable, rewritten

_PACKAGE = str(Path(__file__).parent.parent)


@dataclass(slots=True)
class Captured:
    """The functions whose control flow a compiled function's trace needed captured."""

    codes: dict[CodeType, CodeType] = field(default_factory=dict)
    functions: dict[FunctionType, CodeType] = field(default_factory=dict)  # with the code they had
    texts: list[str] = field(default_factory=list)

    def add(self, error: BaseException) -> bool:
        """Rewrite the function whose line raised `error`; False where that cannot help.

        Errors: NotCapturable where the function cannot be rewritten.
        """
        frames = [frame for frame in _frames(error) if not frame.f_code.co_filename.startswith(_PACKAGE)]
        while frames and frames[-1].f_code.co_name.startswith("<") and frames[-1].f_code.co_name != "<lambda>":
            frames.pop()  # a comprehension belongs to the function around it
        if not frames or frames[-1].f_code in self.codes or frames[-1].f_code in self.codes.values():
            return False
        code = frames[-1].f_code
        made, text = _recompiled(code)
        self.codes[code] = made
        self.texts.append(text)
        for frame in frames:  # the outermost that holds the code is what lasts from trace to trace
            original = frame.f_code
            if original is code or _holds(original, code):
                for function in _functions_of(original):
                    self.functions.setdefault(function, function.__code__)
                break
        return True

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Run with the rewritten code."""
        try:
            for function, code in self.functions.items():
                function.__code__ = _replaced(code, self.codes)
            yield
        finally:
            for function, code in self.functions.items():
                function.__code__ = code


def as_program(function: Any) -> Any:
    """A function of adjit's own whose control flow is captured in a trace, as that of the user's functions is."""
    made: list[FunctionType] = []

    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if not made:
            code = _recompiled(function.__code__)[0]
            made.append(FunctionType(code, function.__globals__, function.__name__, function.__defaults__))
        return made[0](*args, **kwargs)

    return either


def _frames(error: BaseException) -> list[FrameType]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace.tb_frame)
        trace = trace.tb_next
    return found


def _functions_of(code: CodeType) -> list[FunctionType]:
    return [x for x in gc.get_referrers(code) if isinstance(x, FunctionType) and x.__code__ is code]


def _holds(outer: CodeType, inner: CodeType) -> bool:
    return any(c is inner or (isinstance(c, CodeType) and _holds(c, inner)) for c in outer.co_consts)


def _replaced(code: CodeType, codes: dict[CodeType, CodeType]) -> CodeType:
    """The code with its own, or what nested functions have, replaced."""
    if code in codes:
        return codes[code]
    constants = tuple(_replaced(c, codes) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code if constants == code.co_consts else code.replace(co_consts=constants)


def _recompiled(code: CodeType) -> tuple[CodeType, str]:
    """The rewritten code of a function, and its text."""
    if code.co_name == "<lambda>":
        raise NotCapturable("it is a lambda; write it with def")
    try:
        lines, first = inspect.getsourcelines(code)
    except (OSError, TypeError) as error:
        raise NotCapturable("its source is not at hand") from error
    tree = ast.parse(textwrap.dedent("".join(lines)))
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise NotCapturable("it is a coroutine")
    _move(tree, first - 1, len(lines[0]) - len(lines[0].lstrip()))
    changed = rewritten(definition)
    text = ast.unparse(changed)
    compiled = compile(_around(changed, code), code.co_filename, "exec", dont_inherit=True)
    found = _find(compiled, code.co_name)
    if found is None or found.co_freevars != code.co_freevars or found.co_argcount != code.co_argcount:
        raise NotCapturable("it uses variables of the function around it in a way that its copy would not")
    return found.replace(co_qualname=code.co_qualname), text


def _move(tree: ast.AST, lines: int, columns: int) -> None:
    """Give the tree of dedented source the places that it has in its file."""
    ast.increment_lineno(tree, lines)
    for node in ast.walk(tree):
        if isinstance(node, (ast.stmt, ast.expr, ast.arg, ast.alias, ast.keyword)):
            node.col_offset += columns
            if node.end_col_offset is not None:
                node.end_col_offset += columns


def _around(definition: ast.FunctionDef, code: CodeType) -> ast.Module:
    """A module with the function inside what binds its free variables, and inside a class of its class's name."""
    body: list[ast.stmt] = [definition]
    parts = code.co_qualname.split(".")
    if len(parts) > 1 and parts[-2] != "<locals>":
        body = [ast.ClassDef(parts[-2], [], [], body, [])]
    names = [name for name in code.co_freevars if name != "__class__"]
    values: list[ast.stmt] = [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)) for name in names]
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    factory = ast.FunctionDef("factory", nothing, [*values, *body], [])
    return ast.fix_missing_locations(ast.Module([factory], []))


def _find(code: CodeType, name: str) -> Any:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found = constant if constant.co_name == name else _find(constant, name)
            if found is not None:
                return found
    return None
