"""Machine code and the layout that its program has -> executable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adjit.compiler.llvm.objects import Library, load
from adjit.ir.errors import CompileError
from adjit.ir.graph import Graph
from adjit.runtime.executable import Executable, Layout, host_call_address
from adjit.runtime.layout import address_of

if TYPE_CHECKING:
    from adjit.runtime.improving import Better

MAIN, HOST, PARALLEL_FOR = "adjit_main", "adjit_host_call", "adjit_parallel_for"


def load_program(
    graph: Graph,
    code: bytes,
    key: bytes,
    layout: Layout,
    exports: tuple[str, ...] = (),
    addresses: Mapping[str, int] | None = None,
    better: Better | None = None,
    after: int = 1,
) -> Executable:
    """The executable of `graph` whose object is `code`, which stands under `key` in the disk cache.

    Its library exports `exports` too; `addresses` are those of further names that the code uses.  Quick code has
    `better` code (see `Executable`), which is made beside the program `after` so many calls.
    """
    library = load_library(code, key, layout, exports, addresses)
    return Executable(graph, library, library.address(MAIN), layout, better, _beside, after)


def _beside(work: Callable[[], None], pays: Callable[[], bool] | None) -> None:
    from adjit.compiler.later import compile_later  # which few programs need

    compile_later(work, pays)


def load_library(
    code: bytes, key: bytes, layout: Layout, exports: tuple[str, ...] = (), addresses: Mapping[str, int] | None = None
) -> Library:
    """The code of a program, with what it calls."""
    imports = dict(addresses or {})
    if layout.parallel:
        from adjit.compiler.llvm.pool import parallel_for_address

        imports[PARALLEL_FOR] = parallel_for_address()
    if layout.host_calls:
        imports[HOST] = host_call_address()
    imports.update((name, _address_outside(name)) for name in layout.outside)
    return load(code, (MAIN, *exports), imports, key)


def _address_outside(name: str) -> int:
    """The address of a table of numbers, or of a function of LAPACK."""
    from adjit.runtime import fourier, lapack

    if not name.startswith(lapack.SYMBOL):
        return address_of(fourier.table(name))
    found = lapack.address(name)
    if found is None:
        raise CompileError(f"NumPy's library has no {name}, which a program was compiled to call")
    return found
