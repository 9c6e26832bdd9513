"""The native entry's library: its word functions translated, compiled once, and bound to this process's objects."""

from __future__ import annotations

from adjit.compiler.entry import backward, operands, record, results, serve
from adjit.compiler.entry.interpreter import EXTERNALS
from adjit.compiler.entry.known import METHODS
from adjit.compiler.llvm.jit import Library, compile_library
from adjit.compiler.llvm.words import KNOWN, translate
from adjit.runtime.layout import c_function

_PARTS = (operands, results, record, serve, backward)
FUNCTION, COMPILED, BACKWARD = "adjit_function", "adjit_compiled", "adjit_backward"


def entry_text() -> str:
    """LLVM text of the library; it is the same in every process."""
    functions = [function for part in _PARTS for function in part.FUNCTIONS]
    text = translate(functions, EXTERNALS, (FUNCTION, COMPILED, BACKWARD))
    return text + "".join(serve.method_text(number) for number in range(METHODS))


def load_entry(known: int) -> Library:
    """The library, bound to the known table at an address."""
    imports = {KNOWN: known, **{name: c_function(name) for name in EXTERNALS}}
    exports = (FUNCTION, COMPILED, BACKWARD, *map(method_name, range(METHODS)))
    return compile_library(entry_text(), exports, imports=imports)


def method_name(number: int) -> str:
    """The symbol of method `number`'s entry."""
    return f"adjit_method{number}"
