"""Sample arguments: what a function is called with when a tool looks into it, by a decorator or as text.

A type stands for a tensor of that type: `f32[64, 3]` has normal numbers, `i64[64]` zeros, `bool[3]` False; a name in
front says otherwise, as in `rand:f32[3]`, `ones:f64[2, 2]` or `randint(10):i64[64]`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from adjit.creation import from_numpy
from adjit.dtypes import public
from adjit.ir.halfs import cast_array
from adjit.ir.types import DTYPES, DType
from adjit.python_data import dtype_of_array
from adjit.tensor import Tensor

F = TypeVar("F")
ATTRIBUTE = "__adjit_example_inputs__"

_NAMES = {**DTYPES, **{dtype.long_name: dtype for dtype in DTYPES.values()}}
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|inf|nan)"
_TENSOR = re.compile(rf"(?:([a-z_]+)(?:\(\s*({_NUMBER}(?:\s*,\s*{_NUMBER})*)\s*\))?\s*:\s*)?(\w+)\[([\d,\s]*)\]")
_FILE = re.compile(r"@([^,\])}]+\.npy)")
_NUMERAL = re.compile(_NUMBER + r"(?![\w.])")
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_WORD = re.compile(r"[A-Za-z_]\w*")
_CONSTANTS = {"True": True, "False": False, "None": None, "true": True, "false": False, "none": None}
_SPACE = re.compile(r"\s*")
_CLOSING = {"[": "]", "(": ")", "{": "}"}


class ArgumentError(ValueError):
    """Text that describes no argument."""


def example_inputs(*args: Any, **kwargs: Any) -> Callable[[F], F]:
    """Attach the arguments that `python -m adjit inspect FILE:FUNC` and its kin call a function or module with.

    Text that is a tensor's type stands for such a tensor, made when a tool asks.  One argument alone may be a function
    without parameters, which returns the tuple of arguments.

    >>> @example_inputs("f32[64, 3]", "zeros:f32[3, 1]", power=2)
    ... def loss(x, w, power):
    ...     return ((x @ w) ** power).mean()
    >>> [tuple(a.shape) for a in attached(loss)[0]]
    [(64, 3), (3, 1)]
    """

    def attach(function: F) -> F:
        setattr(function, ATTRIBUTE, (args, kwargs))
        return function

    return attach


def attached(function: Any, seed: int = 0) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments that `example_inputs` attached to a function, its class or a bound method; None without."""
    found = getattr(function, ATTRIBUTE, None)
    if found is None:
        return None
    args, kwargs = found
    if len(args) == 1 and not kwargs and callable(args[0]) and not isinstance(args[0], Tensor):
        made = args[0]()
        args = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    numbers = np.random.default_rng(seed)
    return [_made(a, numbers) for a in args], {name: _made(a, numbers) for name, a in kwargs.items()}


def _made(argument: Any, numbers: np.random.Generator) -> Any:
    """A tensor for text that is a tensor's type; any other argument itself."""
    if isinstance(argument, str) and (match := _TENSOR.fullmatch(argument.strip())):
        return _tensor(match, numbers)
    return argument


def read_argument(text: str, numbers: np.random.Generator) -> Any:
    """The argument that text on a command line describes.

    Tensors as types, `@file.npy`, numbers, True, False, None, quoted text, names of dtypes, bare words (as text), and
    lists, tuples and dicts of these.

    >>> read_argument("[1, 2.5, {'mode': train}]", np.random.default_rng(0))
    [1, 2.5, {'mode': 'train'}]

    Errors: ArgumentError, which shows where the text cannot be read.
    """
    reader = _Reader(text, numbers)
    value = reader.value()
    reader.end()
    return value


class _Reader:
    """A place in the text."""

    def __init__(self, text: str, numbers: np.random.Generator) -> None:
        self.text = text
        self.numbers = numbers
        self.at = 0

    def error(self, wanted: str) -> ArgumentError:
        return ArgumentError(f"{wanted}\n  {self.text}\n  {' ' * self.at}^")

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def next_is(self, sign: str) -> bool:
        self.skip()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def end(self) -> None:
        self.skip()
        if self.at < len(self.text):
            raise self.error("this is more than one argument")

    def value(self) -> Any:
        self.skip()
        start = self.at
        if match := self.take(_TENSOR):
            try:
                return _tensor(match, self.numbers)
            except ArgumentError as error:
                self.at = start
                raise self.error(str(error)) from None
        if match := self.take(_FILE):
            return _loaded(match[1])
        if match := self.take(_NUMERAL):
            return _number(match[0])
        if match := self.take(_STRING):
            return ast.literal_eval(match[0])
        if match := self.take(_WORD):
            word = match[0]
            if self.text.startswith("[", self.at):
                self.at = start
                raise self.error(f"{word} is no dtype; there are {', '.join(DTYPES)}")
            return public(_NAMES[word]) if word in _NAMES else _CONSTANTS.get(word, word)
        for opening, closing in _CLOSING.items():
            if self.next_is(opening):
                return self.container(opening, closing)
        raise self.error("expected a tensor's type like f32[64, 3], a number, text, a list or a dict")

    def container(self, opening: str, closing: str) -> Any:
        items: list[Any] = []
        trailing = False
        while not self.next_is(closing):
            if items and not trailing:
                raise self.error(f"expected , or {closing}")
            item = self.value()
            if opening == "{":
                if not self.next_is(":"):
                    raise self.error("expected : between a key and its value")
                item = (item, self.value())
            items.append(item)
            trailing = self.next_is(",")
        if opening == "{":
            return dict(items)
        if opening == "(":
            return tuple(items) if len(items) != 1 or trailing else items[0]
        return items


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _loaded(path: str) -> Tensor:
    try:
        return from_numpy(np.load(Path(path).expanduser(), allow_pickle=False))
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(f"{path}: {error}") from None


def _tensor(match: re.Match[str], numbers: np.random.Generator) -> Tensor:
    maker, parameters, name, dims = match.groups()
    if name not in _NAMES:
        raise ArgumentError(f"{name} is no dtype; there are {', '.join(DTYPES)}")
    dtype = _NAMES[name]
    shape = [int(dim) for dim in dims.replace(",", " ").split()]
    given = [_number(part) for part in parameters.split(",")] if parameters else []
    return tensor_of(dtype, shape, numbers, maker, given)


def tensor_of(
    dtype: DType,
    shape: Sequence[int],
    numbers: np.random.Generator,
    maker: str | None = None,
    given: Sequence[Any] = (),
) -> Tensor:
    """A tensor made by a rule: randn, rand, zeros, ones, full(v), arange, randint(low, high), eye.

    Without one: normal numbers for floating dtypes, zeros for the others.
    """
    maker = maker or ("randn" if dtype.is_continuous else "zeros")

    def normal() -> np.ndarray:
        real = numbers.standard_normal(shape)
        return real + 1j * numbers.standard_normal(shape) if dtype.is_complex else real

    # Each with the most numbers that it takes; one that takes some needs one.
    rules: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
        "randn": (0, normal),
        "rand": (0, lambda: numbers.random(shape)),
        "zeros": (0, lambda: np.zeros(shape)),
        "ones": (0, lambda: np.ones(shape)),
        "full": (1, lambda value: np.full(shape, value)),
        "arange": (0, lambda: np.arange(int(np.prod(shape))).reshape(shape)),
        "randint": (2, lambda low, high=None: numbers.integers(low, high, size=shape)),
        "eye": (0, lambda: np.broadcast_to(np.eye(shape[-2], shape[-1]), shape)),
    }
    if maker not in rules:
        raise ArgumentError(f"{maker} makes no tensors; there are {', '.join(rules)}")
    most, rule = rules[maker]
    if not min(most, 1) <= len(given) <= most:
        raise ArgumentError(f"{maker} takes {('no number', 'one number', 'one or two numbers')[most]}")
    if maker == "eye" and len(shape) < 2:
        raise ArgumentError("eye makes matrices: two sizes or more")
    try:
        array = rule(*given)
    except ValueError as error:
        raise ArgumentError(f"{maker}: {error}") from None
    return Tensor._wrap(cast_array(array, dtype_of_array(array), dtype).copy(), dtype)
