"""Errors as users see them: PyTorch's first line, then the line of the program, the operands, and a way out.

Everything is found when an error is raised, from the frames of the call: the place in the user's line, the operands
under the names that the user gave them, their types.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from inspect import CO_VARARGS, Parameter, signature
from typing import TYPE_CHECKING, Any, TypeVar

from adjit.ir.errors import ShapeError
from adjit.state import is_user_frame, location_in, user_location

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from adjit.ir.graph import Location
    from adjit.tensor import Tensor

E = TypeVar("E", bound=Exception)
# The longest text of an operand that stands for it, and the most operands that are shown.
_LONGEST, _MOST = 24, 6


def line_of(location: Location, what: str = "", verb: str = "in") -> list[str]:
    """The user's line, `  in what, train.py:12    y = x @ w`, and below it a caret line where the operation is known.

    Nothing for a location outside any file.
    """
    if not location.line:
        return []
    head = f"  {verb} {what + ', ' if what else ''}{location.file}:{location.line}    "
    lines = [(head + location.expression).rstrip()]
    start, end = location.columns
    if start < end and (start, end) != (0, len(location.expression)):
        lines.append(" " * (len(head) + start) + "^" * (end - start))
    return lines


def explained(
    kind: type[E], first: str, op: str = "", operands: Mapping[str, Any] | None = None, hint: str = ""
) -> E:
    """The exception `kind` whose text starts with PyTorch's line, to be raised by the caller.

    Without `operands` those of the function that the user called are shown.  `{name}` in `hint` becomes the user's
    text for that operand.
    """
    standing = getattr(_THREAD, "standing", None)
    if standing is not None:
        return kind(_text(first, op, standing.operands if operands is None else operands, hint, place(), None, []))
    frame, called = _frames()
    return kind(_text(first, op, operands, hint, place(), frame, called))


def tell(error: Exception, function: Callable[..., Any] | None = None) -> None:
    """Add to a plain error of ours that is on its way to the user what `explained` adds, unless it has it."""
    if type(error) not in _TOLD or len(error.args) != 1 or "\n" in str(error):
        return
    frame, called = _frames()
    location = place()
    trace = error.__traceback__
    while trace is not None:
        if is_user_frame(trace.tb_frame):
            frame, called = trace.tb_frame, []
            location = location_in(frame.f_code, trace.tb_lasti, trace.tb_lineno)
        else:
            called.append(trace.tb_frame)
        trace = trace.tb_next
    if not called:  # raised by the user's own code
        return
    asks = function is not None and type(error) is TypeError and "argument" in str(error)
    hint = _call_of(function) if function is not None and asks else ""
    error.args = (_text(str(error), "", None, hint, location, frame, called),)


def _call_of(function: Callable[..., Any]) -> str:
    """How a function is called, `softmax(input, dim, dtype=None)`."""
    parts = [str(part.replace(annotation=Parameter.empty)) for part in signature(function).parameters.values()]
    return f"{function.__name__}({', '.join(part for part in parts if part != 'self')})"


_TOLD = (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError, AssertionError, ShapeError)


def not_a_tensor(op: str, argument: str, position: int, value: Any) -> TypeError:
    """The error for an argument that must be a tensor."""
    return TypeError(
        f"{op}(): argument '{argument}' (position {position + 1}) must be Tensor, not {_type_name(value)}"
    )


def misplaced(function: Callable[..., Any], args: tuple[Any, ...]) -> TypeError | None:
    """The error for an argument that is no tensor where one is wanted."""
    from adjit.tensor import Tensor

    for number, (parameter, value) in enumerate(zip(signature(function).parameters.values(), args, strict=False), 1):
        if parameter.annotation == "Tensor" and not isinstance(value, Tensor):
            name = function.__name__
            hint = "make it a tensor: torch.stack of tensors, torch.tensor of numbers"
            if name.startswith("conv"):  # one of PyTorch's functions with several signatures
                got = ", ".join(map(_type_name, args))
                first = f"{name}() received an invalid combination of arguments - got ({got}), but expected one of:"
                return explained(TypeError, first, name, {}, f"{parameter.name} is no tensor: {hint}")
            said, position = _SAID_ARGUMENTS.get((name, parameter.name), (parameter.name, number))
            said_of = f"linalg_{name}" if ".linalg" in function.__module__ else _SAID.get(name, name)
            first = f"{said_of}(): argument '{said}' (position {position}) must be Tensor, not "
            return explained(TypeError, first + _type_name(value), name, {}, hint)
    return None


# Functions that PyTorch's errors call otherwise, and arguments, with their positions.
_SAID = {"cross_entropy": "cross_entropy_loss", "nll_loss": "nll_loss_nd"}
_SAID_ARGUMENTS = {("embedding", "input"): ("indices", 2)}


def _type_name(value: Any) -> str:
    """What Python calls the type of a value, with the package of one of NumPy's."""
    kind = type(value)
    return f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__


def misplaced_in(error: AttributeError, function_of: Callable[[CodeType], Any]) -> TypeError | None:
    """The error for an argument that is no tensor, if a function met it as a missing attribute.

    `function_of` gives the functions that are meant, by their code, and None for others.
    """
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        function = function_of(code)
        if function is not None:
            given = code.co_varnames[: code.co_argcount]
            return misplaced(function, tuple(trace.tb_frame.f_locals.get(name) for name in given))
        trace = trace.tb_next
    return None


def _text(
    first: str,
    op: str,
    operands: Mapping[str, Any] | None,
    hint: str,
    location: Location,
    frame: FrameType | None,
    called: list[FrameType],
) -> str:
    own, names, given = _given(called)
    if operands is None:
        op, operands = op or own, given
    else:
        names = list(operands)
    texts = {} if frame is None else _texts(frame, location, names, operands)
    shown = [line for name, value in operands.items() for line in _types(name, value, texts)]
    lines = [first, *line_of(location, op), *shown[:_MOST]]
    if hint:
        lines.append(f"  hint: {_filled(hint, texts)}")
    return "\n".join(lines)


_THREAD = threading.local()


class standing_at:
    """While this holds, errors are told at `location`: that of the operation that is looked at now, and ran before.

    `operands` are that operation's, or their types.
    """

    def __init__(self, location: Location, operands: Mapping[str, Any] | None = None) -> None:
        self.location = location
        self.operands = operands or {}

    def __enter__(self) -> None:
        self._before = getattr(_THREAD, "standing", None)
        _THREAD.standing = self

    def __exit__(self, *exception: object) -> None:
        _THREAD.standing = self._before


def place() -> Location:
    """The line that an error is told at: the user's innermost, unless another one is looked at."""
    standing = getattr(_THREAD, "standing", None)
    return user_location() if standing is None else standing.location


class _Names(dict[str, str]):
    """A name without a text stands for itself."""

    def __missing__(self, name: str) -> str:
        return name


def _filled(hint: str, texts: Mapping[str, str]) -> str:
    """The hint with operands in the user's words, in brackets where more than a name would be ambiguous."""
    if "{" not in hint:
        return hint
    plain = re.compile(r"[\w.]+([(\[].*[)\]])?")
    words = _Names({name: text if plain.fullmatch(text) else f"({text})" for name, text in texts.items()})
    try:
        return hint.format_map(words)
    except (ValueError, IndexError, AttributeError):  # braces that name no operand
        return hint


def _frames() -> tuple[FrameType | None, list[FrameType]]:
    """The user's innermost frame, and the frames inside it, outermost first."""
    frame: FrameType | None = sys._getframe(2)
    called: list[FrameType] = []
    while frame is not None and not is_user_frame(frame):
        called.append(frame)
        frame = frame.f_back
    return frame, called[::-1]


def _given(called: list[FrameType]) -> tuple[str, list[str], dict[str, Any]]:
    """The outermost function that was given tensors by name: its name, its parameters, and these operands."""
    for frame in called:
        code = frame.f_code
        names = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        local = frame.f_locals
        found = {name: local[name] for name in names if name in local and name != "self" and _tensors(local[name])}
        if found:
            if code.co_name == "__init__":
                return type(local["self"]).__name__, names[1:], found
            return code.co_name.strip("_"), names, found
        more = code.co_varnames[len(names)] if code.co_flags & CO_VARARGS else ""
        owner = local.get("self") if names[:1] == ["self"] else None
        if hasattr(type(owner), "register_parameter") and _tensors(local.get(more)):  # a module is called
            return type(owner).__name__, ["input"], {"input": local[more][0]}
    return "", [], {}


def _tensors(value: Any) -> list[Tensor]:
    if _is_tensor(value):
        return [value]
    if isinstance(value, (list, tuple)) and value and all(map(_is_tensor, value)):
        return list(value)
    return []


def _is_tensor(value: Any) -> bool:
    """Whether a value of the user's is a tensor; nothing of the value itself is asked, which could fail again."""
    from adjit.tensor import Tensor

    return issubclass(type(value), Tensor)


def _types(name: str, value: Any, texts: Mapping[str, str]) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        for number, tensor in enumerate(_tensors(value)):
            part = f"{name}[{number}]"
            yield f"    {texts.get(part, part)} : {tensor._tensor_type}"
    else:
        shown = name if isinstance(value, str) else texts.get(name, name)
        yield f"    {shown} : {value._tensor_type if _is_tensor(value) else value}"


# -- the user's own names ----------------------------------------------------------------------------------------------
def _texts(
    frame: FrameType, location: Location, names: list[str], operands: Mapping[str, Any]
) -> dict[str, str]:
    """By operand, what the user wrote for it in the call or with the operator that failed; short texts alone."""
    import ast

    start, end = location.columns
    try:
        tree = ast.parse(location.expression[start:end], mode="eval").body
    except SyntaxError:
        return {}
    written: list[ast.expr] = []
    keywords: dict[str, ast.expr] = {}
    match tree:
        case ast.BinOp(left, _, right) | ast.Compare(left, _, [right]):
            written = [left, right]
        case ast.UnaryOp(_, value) | ast.Subscript(value, _) | ast.BoolOp(_, [value, *_]):
            written = [value]
        case ast.Call(function, arguments, named):
            written = [*([] if _is_function(function, frame) else [function.value]), *arguments]  # type: ignore[attr-defined]
            keywords = {keyword.arg: keyword.value for keyword in named if keyword.arg}
    found = {**dict(zip(names, written, strict=False)), **keywords, **_identified(frame, written, operands)}
    for name, expression in list(found.items()):
        if isinstance(expression, (ast.List, ast.Tuple)):
            found.update({f"{name}[{number}]": part for number, part in enumerate(expression.elts)})
    texts = {name: ast.unparse(part) for name, part in found.items() if not _is_other(frame, part, operands.get(name))}
    return {name: text for name, text in texts.items() if len(text) <= _LONGEST and "lambda" not in text}


def _is_other(frame: FrameType, part: Any, operand: Any) -> bool:
    """Whether what was written is known to be another tensor than the operand."""
    known: Any = frame.f_locals.get(getattr(part, "id", ""))
    return _is_tensor(known) and _is_tensor(operand) and known._tensor_type != operand._tensor_type


def _identified(frame: FrameType, written: list[Any], operands: Mapping[str, Any]) -> dict[str, Any]:
    """By operand, the variable that holds it among what was written."""
    variables = {expression.id: expression for expression in written if hasattr(expression, "id")}
    local, outer = frame.f_locals, frame.f_globals
    return {
        name: expression
        for name, value in operands.items()
        for variable, expression in variables.items()
        if local.get(variable, outer.get(variable)) is value
    }


def _is_function(called: Any, frame: FrameType) -> bool:
    """Whether what is called is a function or a module's attribute, and no method of a tensor."""
    import ast
    from types import ModuleType

    if not isinstance(called, ast.Attribute):
        return True
    root = called.value
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return False
    value = frame.f_locals.get(root.id, frame.f_globals.get(root.id))
    return isinstance(value, (ModuleType, type))
