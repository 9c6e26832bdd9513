"""Openings: what makes a block of words, open in sizes, one for the sizes of a call (see compiler/entry/opening.py).

Words under construction may be sizes with names, and objects made for sizes; an opening notes where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from adjit.compiler.entry import known as k
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Guard
from adjit.ir.shape import Atom, Dim, Size, evaluate, product, substitute
from adjit.ir.types import TensorType
from adjit.native.words import LINE, address, aligned, words_of
from adjit.runtime.results import LEAST

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable, NativeCall

# What makes an object of the open sizes.
Recipe: TypeAlias = "Callable[[tuple[int, ...]], Any]"
# Objects for so many sizes are kept.
_MOST = 512


@frozen
class Made:
    """A word that is an object made for sizes, by its number."""

    number: int


class Opening:
    """An opening under construction: `hints` are the open sizes by their names, with the numbers of an example.

    Errors: KeyError for a size of another name.
    """

    def __init__(self, hints: Mapping[str, int]) -> None:
        self.hints = dict(hints)
        self.words = np.zeros(k.OPENING_WORDS, np.uint64)
        self.kept: list[Any] = []
        self.work: Size = 0  # of the program
        self.executable: Executable | None = None
        self.program: dict[str, Size] = {name: Dim.named(name) for name in hints}  # its sizes, in the open ones
        self._values: dict[Any, int] = {name: number for number, name in enumerate(hints)}
        self._instructions: list[int] = []
        self._conditions: list[int] = []
        self._numbers: list[int] = []
        self._places: list[int] = []
        self._objects: dict[Any, tuple[int, Recipe]] = {}

    # -- words --------------------------------------------------------------------------------------------------------
    def block(self, words: Sequence[Any]) -> np.ndarray:
        """A block of words; those that depend on sizes have the numbers of the example, objects none."""
        block = words_of([self._first(word) for word in words])
        start = address(block)
        for place, word in enumerate(words):
            if isinstance(word, Dim):
                self._numbers += [start + 8 * place, self.value(word)]
            elif isinstance(word, Made):
                self._places += [start + 8 * place, word.number]
        self.kept.append(block)
        return block

    def _first(self, word: Any) -> int:
        if isinstance(word, Made):
            return id(None)
        return evaluate(word, self.hints) if isinstance(word, Dim) else int(word)

    def sizes(self, dims: Sequence[Size]) -> int:
        """The address of a list of sizes."""
        return address(self.block([*dims] or [0]))

    def result_words(self, type: TensorType, storage: np.dtype[Any], kind: Any = None) -> list[Any]:
        """What a new array for a result is made from; `kind` is the word of its type, without which it has none yet.

        Large results are left to Python.
        """
        nbytes = product(type.dims) * storage.itemsize
        self.condition(k.NOT_NEGATIVE, LEAST - 1 - nbytes)
        self.kept += [type, storage]
        kind = id(None) if kind is None else kind
        return [id(type.dtype), storage.num, len(type.dims), self.sizes(type.dims), kind]

    # -- numbers ------------------------------------------------------------------------------------------------------
    def value(self, size: Size) -> int:
        """The number of a value that is a size."""
        single = size.single if isinstance(size, Dim) else ""
        found = self._values.get(single or size)
        if found is not None or single:
            return self._values[single or size]
        terms = size.terms if isinstance(size, Dim) else (((), size),)
        words = [k.A_SUM, len(terms)]
        for monomial, factor in terms:
            words += [factor, len(monomial), *map(self._atom, monomial)]
        return self._computed(size, words)

    def _atom(self, atom: Atom) -> int:
        if isinstance(atom, str) or atom in self._values:
            return self._values[atom]
        operator, left, right = atom
        kind = k.A_QUOTIENT if operator == "//" else k.A_REST
        return self._computed(atom, [kind, self.value(left), self.value(right)])

    def _computed(self, key: Any, words: list[int]) -> int:
        self._instructions += [1 + len(words), *words]
        self._values[key] = len(self._values)
        return self._values[key]

    def condition(self, kind: int, size: Size) -> None:
        """What must hold of a size.  Errors: ValueError where it never does."""
        if isinstance(size, Dim):
            self._conditions += [kind, self.value(size)]
        elif not {k.NOT_NEGATIVE: size >= 0, k.NOT_ZERO: size != 0, k.A_ZERO: size == 0, k.POSITIVE: size > 0}[kind]:
            raise ValueError(f"{size} is not what it must be")

    def guard(self, guard: Guard) -> None:
        """A condition of a trace."""
        kinds = {">=": k.NOT_NEGATIVE, ">": k.POSITIVE, "!=": k.NOT_ZERO, "==": k.A_ZERO}
        self.condition(kinds[guard.relation], guard.left - guard.right)

    # -- objects ------------------------------------------------------------------------------------------------------
    @property
    def all_sizes(self) -> Made:
        """The tuple of the open sizes."""
        return self._made("all", tuple)

    def type(self, type: TensorType) -> int | Made:
        """The word of a type."""
        return self.content(type)

    def content(self, value: Any) -> int | Made:
        """The word of an object of tuples with sizes, or types, in it."""
        if not has_names(value):
            self.kept.append(value)
            return id(value)
        return self._made(value, self._recipe(value))

    def calls(self, after: Callable[..., Any], functions: Sequence[tuple[Any, dict[str, Any]]]) -> Made:
        """The word of a function that `after` makes of functions, each with attributes."""
        parts = [
            (function, [*attributes], [self._recipe(value) for value in attributes.values()])
            for function, attributes in functions
        ]

        def made(sizes: tuple[int, ...]) -> Any:
            return partial(after, tuple(
                partial(function, **dict(zip(keys, [recipe(sizes) for recipe in recipes], strict=True)))
                for function, keys, recipes in parts
            ))  # fmt: skip

        return self._made(made, made)

    def _recipe(self, value: Any) -> Recipe:
        """What makes an object for particular sizes."""
        if not has_names(value):
            return lambda _: value
        if isinstance(value, TensorType):
            dtype, dims = value.dtype, self._recipe(value.dims)
            return lambda sizes: TensorType(dtype, dims(sizes))
        if isinstance(value, Dim):
            names = [*self.hints]
            if value.single:
                return itemgetter(names.index(value.single))
            return lambda sizes: evaluate(value, dict(zip(names, sizes, strict=True)))
        parts = [self._recipe(item) for item in value]
        return lambda sizes: tuple([part(sizes) for part in parts])

    def _made(self, key: Any, recipe: Recipe) -> Made:
        return Made(self._objects.setdefault(key, (len(self._objects), recipe))[0])

    def _maker(self) -> Callable[..., tuple[Any, ...]]:
        """A function that makes the objects for sizes."""
        recipes = [recipe for _, recipe in self._objects.values()]
        known: dict[tuple[int, ...], tuple[Any, ...]] = {}

        def made(*sizes: int) -> tuple[Any, ...]:
            found = known.get(sizes)
            if found is None:
                if len(known) >= _MOST:
                    known.clear()
                found = known[sizes] = tuple([recipe(sizes) for recipe in recipes])
            return found

        return made

    # -- the end ------------------------------------------------------------------------------------------------------
    def program_sizes(self) -> dict[str, int]:
        """The sizes of the program in the example."""
        return {name: evaluate(size, self.hints) for name, size in self.program.items()}

    def binding(self, patterns: Sequence[Sequence[Size] | None]) -> None:
        """Say for each operand which sizes it binds."""
        places = [0 if own is None else address(self.block([*map(self._wanted, own)] or [0])) for own in patterns]
        self._set(k.O_PATTERNS, places)

    def _wanted(self, size: Size) -> int:
        return size if isinstance(size, int) else -1 - self._values[size.single]

    def finish(self, signature: np.ndarray, sizes: np.ndarray, call: NativeCall) -> np.ndarray:
        """The words of the opening of a signature, whose program takes `sizes` and for the example is called so."""
        workspace: Size = 0
        arena: Size = 0
        if self.executable is not None:
            layout = self.executable.layout
            for place, name in enumerate(layout.sizes):
                self._numbers += [address(sizes) + 8 * place, self.value(self.program[name])]
            arena = substitute(layout.arena, self.program)
            for one in layout.workspaces:  # the greatest is no more than all
                workspace = workspace + substitute(one, self.program)
        self.words[k.O_SYMBOLS] = len(self.hints)
        self.words[k.O_WORKSPACE], self.words[k.O_ARENA] = self.value(workspace), self.value(arena)
        self.words[k.O_WORKSPACE_ROOM], self.words[k.O_ARENA_ROOM] = call.workspace, call.arena
        self.words[k.O_GROW] = self._keep(self._grow(signature))
        self.words[k.O_WORK], self.words[k.O_FLAGS] = self.value(self.work), int(signature[k.FLAGS]) & ~k.RELEASE
        self._set(k.O_VALUES, [*self.hints.values(), *[0] * (len(self._values) - len(self.hints))])
        self._set(k.O_PROGRAM, [*self._instructions, 0])
        for number, pairs in (
            (k.O_CONDITIONS, self._conditions), (k.O_WORDS, self._numbers), (k.O_PLACES, self._places),
        ):  # fmt: skip
            self._set(number, [len(pairs) // 2, *pairs])
        self._set(k.O_COMMON, [0] * (2 * k.COMMON_PLACES))
        if self._objects:
            holder = np.array([None], object)
            self.kept.append(holder)
            self.words[k.O_MAKER], self.words[k.O_MADE] = self._keep(self._maker()), address(holder)
        return self.words

    def _grow(self, signature: np.ndarray) -> Callable[[int, int], None]:
        """A function that gives a signature more memory."""
        memory: dict[int, np.ndarray] = {}
        words = self.words

        def grow(workspace: int, arena: int) -> None:
            for place, room, size in (
                (k.WORKSPACE, k.O_WORKSPACE_ROOM, workspace), (k.ARENA, k.O_ARENA_ROOM, arena),
            ):  # fmt: skip
                if size > int(words[room]):
                    memory[place] = np.empty(size + size // 2 + LINE, np.uint8)
                    signature[place] = aligned(memory[place])
                    words[room] = size + size // 2

        return grow

    def _set(self, number: int, words: Sequence[int]) -> None:
        block = words_of(words)
        self.kept.append(block)
        self.words[number] = address(block)

    def _keep(self, item: Any) -> int:
        self.kept.append(item)
        return id(item)


def has_names(value: Any) -> bool:
    """Whether there is a size with a name in tuples and types."""
    if isinstance(value, (tuple, list)):
        return any(map(has_names, value))
    return isinstance(value, Dim) or (isinstance(value, TensorType) and not value.is_static)


def sum_of_sizes(graph: Graph) -> Size:
    """A measure of a program's work as `work_of` has it, for all sizes."""
    total: Size = 0
    for node in graph.walk():
        if node.regions:
            return 1 << 40
        parts = [product(value.dims) for value in (*node.outputs, *node.inputs)]
        for part in parts:
            total = total + part
        if node.op.name in ("dot", "conv", "call", "host_call"):
            total = total + 64 * parts[-1]
    return total
