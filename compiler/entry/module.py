"""The native entry's library: its word functions translated, compiled once, and bound to this process's objects."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType

from adjit.compiler.entry.interpreter import EXTERNALS
from adjit.compiler.entry.known import METHODS
from adjit.compiler.llvm.objects import Library, cached_object, load, object_key
from adjit.compiler.llvm.target import host_target
from adjit.compiler.llvm.words import KNOWN, PLAIN_COUNTS, translate
from adjit.runtime.cache import default_cache
from adjit.runtime.layout import c_function

FUNCTION, COMPILED, NUMBERS = "adjit_function", "adjit_compiled", "adjit_numbers"
BACKWARD, GRAD, VECTORCALL = "adjit_backward", "adjit_grad", "adjit_vectorcall"
SET_ITEM = "adjit_setitem"
# The entries that answer questions about a tensor (asked.py, chosen.py).
QUESTIONS = (
    "adjit_bool", "adjit_data_ptr", "adjit_dim", "adjit_equal", "adjit_equal_function", "adjit_float", "adjit_getitem",
    "adjit_grad_fn", "adjit_gradient", "adjit_int", "adjit_is_contiguous", "adjit_is_leaf", "adjit_item", "adjit_len",
    "adjit_nonzero", "adjit_numel", "adjit_offset", "adjit_requires", "adjit_size", "adjit_stride",
)  # fmt: skip
_EXPORTS = (FUNCTION, COMPILED, VECTORCALL, BACKWARD, GRAD, NUMBERS, SET_ITEM, *QUESTIONS)
# What calls of small functions cost is saved by inlining them, which the short pipeline does too: its code is within a
# tenth of the long one's, for a third of the time.  LLVM makes quick code in a sixth of that, by which calls of small
# operations take 1.4 times as long: a process runs it that finds no other in the disk cache, until it has run for long.
LEVEL, _QUICK = 1, 0

_code: bytes | None = None
_level = LEVEL  # of that code
_maker: threading.Thread | None = None


def entry_text() -> str:
    """LLVM text of the library; it is the same in every process."""
    return _text_of(_functions())


def _functions() -> list[FunctionType]:
    from adjit.compiler.entry import (
        asked,
        assigning,
        backward,
        chosen,
        compiled,
        cotangents,
        explore,
        gradients,
        guards,
        lists,
        making,
        numbers,
        objects,
        opening,
        operands,
        overlap,
        parts,
        placed,
        places,
        record,
        results,
        serve,
        shown,
        trees,
        views,
        walk,
    )

    first = (objects, guards, overlap, operands, opening, trees, places, making, record, views, results, shown)
    last = (serve, compiled, lists, backward, explore, cotangents, walk, gradients, numbers)
    apart = (asked, parts, placed, assigning, chosen)
    return [function for part in (*first, *last, *apart) for function in part.FUNCTIONS]


def _text_of(functions: Sequence[FunctionType]) -> str:
    from adjit.compiler.entry import serve

    text = translate(functions, EXTERNALS, _EXPORTS)
    return text + "".join(serve.method_text(number) for number in range(METHODS))


def is_ready() -> bool:
    """Whether `load_entry` would not keep its caller waiting for LLVM; if it would, a thread begins to compile."""
    global _maker
    if _code is None and _maker is None:
        _look_up()
        if _code is None:
            from adjit.compiler.llvm.jit import compile_object

            functions, level = _functions(), _first_level()

            def make() -> bytes:
                return compile_object(_text_of(functions), level=level)

            # The thread imports nothing new: a fork meanwhile would leave the import's lock locked in the child.
            _maker = threading.Thread(target=_make_ahead, args=(make, level), name="adjit compiles its entry")
            with contextlib.suppress(RuntimeError):  # the system gives no more threads
                _maker.start()
    # A thread that failed, or was left behind by a fork, has made no code: then the caller compiles, and sees why.
    return _code is not None or (_maker is not None and not _maker.is_alive())


def _first_level() -> int:
    """The level at which code is made that a process waits for."""
    from adjit.compiler.later import works_beside

    return _QUICK if works_beside() and os.environ.get("ADJIT_QUICK", "1") != "0" else LEVEL


def _look_up() -> None:
    """Take the best code that the disk cache has, if any."""
    global _code, _level
    cache = default_cache()
    for level in range(LEVEL, _first_level() - 1, -1):
        if _code is None and cache:
            _code, _level = cache.get(_key(level)), level


def load_entry(known: int) -> tuple[Library, bool]:
    """The library, bound to the known table at an address; and whether there is better code to be made."""
    global _level
    if _code is None:
        _look_up()
    if _code is not None:
        return _loaded(_code, known), _level < LEVEL
    _level = _first_level()
    return _loaded(_made(_level), known), _level < LEVEL


def load_best_entry(known: int) -> Library:
    """The library of the best code, which is made unless the disk cache has it."""
    return _loaded(_made(LEVEL), known)


def _loaded(code: bytes, known: int) -> Library:
    imports = {KNOWN: known, **{name: c_function(name) for name in EXTERNALS}}
    return load(code, (*_EXPORTS, *map(method_name, range(METHODS))), imports)


def method_name(number: int) -> str:
    """The symbol of method `number`'s entry."""
    return f"adjit_method{number}"


def _made(level: int) -> bytes:
    from adjit.compiler.llvm.jit import compile_object

    return cached_object(_key(level), lambda: compile_object(entry_text(), level=level))


def _make_ahead(make: Callable[[], bytes], level: int) -> None:
    """Compile outside the compile lock, under which others ask whether the code is there."""
    global _code, _level
    code = make()
    cache = default_cache()
    if cache:
        cache.put(_key(level), code)
    _level = level  # first: others look whether the code is there
    _code = code


def _key(level: int) -> bytes:
    """The cache key: the sources from which the text is made, which take a hundredth of the text's time to read."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.py")), here.parent / "llvm" / "words.py"]
    text = "".join(path.read_text("utf-8") for path in sources)
    return object_key(f"{text}{PLAIN_COUNTS}", host_target(), level, False)
