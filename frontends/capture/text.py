"""Text that holds numbers known only when the program runs: what a compiled function prints and formats.

A `Text` keeps the tensors and how they become text.  Printing one is a call of the host in the program; returning it,
or keeping it in a list of one's own, makes it a string when the call ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from adjit import trees
from adjit.capture.numbers import Number
from adjit.ir.frozen import frozen
from adjit.size import Size
from adjit.state import STATE
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor

Write = Callable[[Sequence[Any]], str]


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """The string write(values), once the values have numbers."""

    values: tuple[Any, ...]
    write: Write

    def __add__(self, other: Any) -> Any:
        return joined((self, "", ""), (other, "", "")) if isinstance(other, (str, Text)) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return joined((other, "", ""), (self, "", "")) if isinstance(other, str) else NotImplemented

    def __str__(self) -> str:
        from adjit.dispatch import numbers_needed

        raise numbers_needed(self.values[0], "a string")


def _text_of(write: Write, values: Sequence[Any]) -> Any:
    return Text(tuple(values), write) if any(_is_open(value) for value in values) else write(values)


trees.add_node(Text, lambda text: (text.values, text.write), _text_of)


def _is_open(value: Any) -> bool:
    """Whether a tensor's numbers are those of a call, and not yet known."""
    return isinstance(value, Tensor) and STATE.tracer is not None


def open_in(value: Any) -> bool:
    """Whether a value, or something in its lists, tuples and dicts, is not yet known."""
    if isinstance(value, (str, int, float, type(None))):
        return False
    return isinstance(value, Text) or any(_is_open(leaf) for leaf in trees.leaves_of(value))


def _without_open_sizes(leaf: Any) -> Any:
    """A size as the number that it is in this call: the program serves no other then."""
    if isinstance(leaf, Size):
        return Size(map(int, leaf))
    return int(leaf) if isinstance(leaf, SymbolicSize) else leaf


def made(write: Callable[..., str], *arguments: Any) -> Any:
    """write(*arguments): a Text where tensors among the arguments are not yet known."""
    plain = trees.mapped(_without_open_sizes, arguments, none_is_leaf=True)
    if not any(map(open_in, plain)):
        return write(*plain)
    leaves, structure = trees.flatten(plain, none_is_leaf=True)
    return _text_of(lambda values: write(*trees.unflatten(structure, values)), leaves)


def joined(*parts: tuple[Any, str, Any]) -> Any:
    """An f-string: each part is a value, its conversion ("r", "s", "a" or none) and its format.

    A literal part is a string without either.
    """
    texts = []
    for value, conversion, spec in parts:
        plain = isinstance(value, str) and not conversion and not spec
        texts.append(value if plain else made(partial(_formatted, conversion), value, spec))
    return made(lambda *strings: "".join(strings), *texts)


_CONVERSIONS: dict[str, Callable[[Any], str]] = {"": lambda value: value, "r": repr, "s": str, "a": ascii}


def _formatted(conversion: str, value: Any, spec: str) -> str:
    return format(_CONVERSIONS[conversion](value), spec)


# -- printing ---------------------------------------------------------------------------------------------------------
_numbers = count()


def print_(write: Callable[..., None], values: Sequence[Any], options: dict[str, Any]) -> None:
    """write(*values, **options) as an operation of the program, so that every call prints."""
    when_run("print", partial(write, **options), [made(str, value) for value in values])


def when_run(title: str, action: Callable[..., None], values: Sequence[Any]) -> None:
    """action(*values) as an operation of the program: every call of it does that, with the numbers of the call."""
    from adjit.autograd.modes import no_grad
    from adjit.dispatch import apply
    from adjit.ir.primitive import primitive_named
    from adjit.runtime.host import register_host_function

    leaves, structure = trees.flatten(list(values), none_is_leaf=True)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    shown = [_shower(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def act(*arrays: Any) -> tuple[()]:
        given = iter(arrays)
        leaves = [item.of(next(given)) if isinstance(item, _Shown) else item for item in shown]
        action(*trees.unflatten(structure, leaves))
        return ()

    name = f"adjit.{title}.{next(_numbers)}"
    register_host_function(name, act)
    with no_grad():
        apply(primitive_named("host_call"), [tensor.detach() for tensor in tensors], {"function": name, "types": ()})


@frozen
class _Shown:
    """What makes of a call's array what the user's code would have seen."""

    of: Callable[[Any], Any]


def _shower(tensor: Tensor) -> _Shown:
    if isinstance(tensor, Number):
        return _Shown(lambda array: array.item())
    from adjit.nn.parameter import Parameter

    dtype, requires_grad, function = tensor._dtype, tensor.requires_grad, tensor.grad_fn
    name = None if function is None else function.name()
    is_parameter = isinstance(tensor, Parameter)

    def restored(array: Any) -> Tensor:
        found = Tensor._wrap(array, dtype)
        if is_parameter:
            return Parameter(found, requires_grad)
        if name is not None:
            found.__dict__["_grad_fn_name"] = name
        elif requires_grad:
            found.requires_grad_()
        return found

    return _Shown(restored)
