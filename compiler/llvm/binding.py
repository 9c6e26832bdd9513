"""The one module that imports llvmlite: LLVM started for the host, its versions, and its lock made safe to fork."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import llvmlite
from llvmlite import binding

from adjit.ir.errors import CompileError

llvm: Any = binding
LLVMLITE_VERSION: str = llvmlite.__version__
LLVM_VERSION: str = ".".join(str(part) for part in llvm.llvm_version_info)

_all_targets_started = False


def _start_host() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def find_target(triple: str) -> Any:
    """llvmlite's target of `triple`; the other back ends are started at their first need.

    Errors: CompileError if this LLVM has no back end for it.
    """
    global _all_targets_started
    if not _all_targets_started and _architecture(triple) != _architecture(llvm.get_process_triple()):
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        _all_targets_started = True
    try:
        return llvm.Target.from_triple(triple)
    except RuntimeError as error:
        raise CompileError(f"LLVM has no back end for {triple!r}: {error}") from error


@functools.cache
def keep_lines() -> None:
    """Let instructions that LLVM makes for no place of the program stand at the line before them.

    By default its line tables say line 0 there, for some 6 % of a kernel.  This is a setting of the whole process.
    """
    llvm.set_option("adjit", "-use-unknown-locations=Disable")


def _architecture(triple: str) -> str:
    return triple.partition("-")[0]


# Held while LLVM works on several modules at once, outside llvmlite's lock.
side_by_side = threading.Lock()


def unlocked(name: str) -> Any:
    """llvmlite's function `name` without the lock that lets in one thread at a time.

    Only under `side_by_side`, and for modules, machines and passes that no other thread uses: each in a context of its
    own, which is what LLVM asks for.
    """
    function = getattr(llvm.ffi.lib, name)
    return function._cfn


def _keep_locks_over_fork() -> None:
    """Hold LLVM's locks while the process forks.

    Every LLVM call takes one of them.  A child forked while another thread held it would inherit it locked by a thread
    that the child does not have, and LLVM's own state half changed: its first compile would hang.
    """
    if not hasattr(os, "register_at_fork"):
        return
    lock = llvm.ffi.lib._lock._lock

    def acquire() -> None:
        side_by_side.acquire()
        lock.acquire()

    def release() -> None:
        lock.release()
        side_by_side.release()

    os.register_at_fork(before=acquire, after_in_parent=release, after_in_child=release)


_start_host()
_keep_locks_over_fork()
