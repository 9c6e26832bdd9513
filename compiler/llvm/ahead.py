"""LLVM's library loaded by a thread while Python imports what the compiler is made of."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from importlib.machinery import PathFinder
from pathlib import Path


def load_ahead() -> None:
    """Begin to load LLVM's library, unless it is loaded.

    It is 170 MB, and takes 7 ms.  ctypes would hold Python's lock meanwhile, in releases before 3.12; as a foreign
    function `dlopen` does not.  `binding` then finds the library loaded.  Where that fails, `binding` says why.
    """
    if "adjit.compiler.llvm.binding" in sys.modules or os.name != "posix":
        return
    library = next(iter(libraries()), None)
    if library is None:
        return
    with contextlib.suppress(RuntimeError):  # the system, or an interpreter that ends, gives no thread
        threading.Thread(target=_load, args=(os.fsencode(library),), name="adjit loads LLVM", daemon=True).start()


@functools.cache
def libraries() -> list[Path]:
    """The files of LLVM's library in llvmlite, which is not imported; none where llvmlite is not a folder."""
    found = PathFinder.find_spec("llvmlite")
    if found is None or found.origin is None:
        return []
    folder = os.path.join(os.path.dirname(found.origin), "binding")
    with contextlib.suppress(OSError):  # a glob would have a regular expression made, in each process
        return sorted(Path(folder, name) for name in os.listdir(folder) if name.startswith("libllvmlite"))
    return []


def _load(path: bytes) -> None:
    system = ctypes.CDLL(None)
    system.dlopen.restype, system.dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    system.dlopen(path, os.RTLD_NOW | os.RTLD_LOCAL)
