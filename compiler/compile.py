"""Graph -> executable, through the disk cache where the same graph was compiled before.

What the cache holds of a program is its layout and the key of its object.  They stand under the graph's structure, so
that a new process needs neither the passes nor the emitter, and does not even import them.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import adjit.ir
import adjit.runtime
from adjit.compiler.llvm.ahead import load_ahead
from adjit.compiler.llvm.host import remembered
from adjit.compiler.llvm.objects import Library, object_key
from adjit.compiler.llvm.target import host_target
from adjit.compiler.load import MAIN, load_program
from adjit.compiler.passes import any_registered
from adjit.ir.analysis import callees
from adjit.ir.errors import CompileError
from adjit.ir.frozen import fields_of
from adjit.ir.graph import Graph
from adjit.ir.hashing import structural_hash
from adjit.ir.logs import listening
from adjit.ir.shape import plain_size, size_of_plain
from adjit.runtime.cache import cache_key, default_cache
from adjit.runtime.collection import collector_paused
from adjit.runtime.executable import Executable, Layout
from adjit.runtime.host_library import identity
from adjit.runtime.making import clock_stopped
from adjit.runtime.threads import get_num_threads

# Modules that say what ops mean; those of users' ops are not among the files that a key tells of.
_HOMES = ("adjit.ir.", "adjit.runtime.", "adjit.compiler.")
# Settings that decide how results are computed.
_METHODS = ("ADJIT_WINOGRAD",)
_SETTINGS = ("ADJIT_DEBUG_INFO", "ADJIT_PERF", "ADJIT_DUMP_DIR")


def compile_graph(
    graph: Graph,
    *,
    strict: bool = False,
    threads: int | None = None,
    debug: bool = False,
    quick: bool = True,
    patient: bool = False,
) -> Executable:
    """The executable of a graph.

    With `strict`, no multiplication is fused with an addition and contractions have one order of summation, so results
    equal eager mode's to the last bit.  `threads`: the most that a call uses (None: as many as `get_num_threads` says).
    With `debug`, or ADJIT_DEBUG_INFO=1, debuggers see the user's lines in the code; with ADJIT_PERF=1 perf does.
    ADJIT_DUMP_DIR names a folder that gets every stage.  The first call of a large program runs quickly made code
    (compiler/quick.py); ADJIT_QUICK=0, or `quick=False` for a caller who knows better, makes the best code before it.
    A `patient` caller has many programs of which each may be called a few times only: it runs quick code until the best
    would have paid.
    """
    quick = quick and os.environ.get("ADJIT_QUICK", "1") != "0"
    asked = {name for name in _SETTINGS if os.environ.get(name, "0") != "0"}
    with collector_paused(), clock_stopped():
        if debug or asked or listening("ir") or listening("passes"):
            return _watched(graph, strict, threads, asked, debug)
        threads = get_num_threads() if threads is None else threads
        if remembered() is None:
            _maker()
        key = _key(graph, strict, threads)
        found = _stored(graph, key, strict, threads, quick, patient) if key else None
        if (log := listening("cache")) is not None:
            log.debug("@%s: %s", graph.name, "from the disk cache" if found else "compiled")
        if found is None:
            build, lowered = _maker()
            made = partial(_store, key)
            last = lowered(graph, strict=strict)
            found = build(last, strict=strict, threads=threads, quick=quick, patient=patient, made=made)
        return found


def stored_executable(graph: Graph, *, strict: bool = False, quick: bool = True) -> Executable | None:
    """The executable of a graph for a patient caller, where the disk cache has it; nothing is compiled.

    None also where programs are watched, and in a process that found no cache, without looking for this one.
    """
    watched = any(os.environ.get(name, "0") != "0" for name in _SETTINGS) or listening("ir") or listening("passes")
    if watched or remembered() is None:
        return None
    quick = quick and os.environ.get("ADJIT_QUICK", "1") != "0"
    with collector_paused(), clock_stopped():
        threads = get_num_threads()
        key = _key(graph, strict, threads)
        return _stored(graph, key, strict, threads, quick, patient=True) if key else None


def _maker() -> tuple[Callable[..., Executable], Callable[..., Graph]]:
    """`build` and `lowered`: the compiler, imported while LLVM's library is loaded."""
    load_ahead()
    import adjit.compiler.pipeline  # before what needs LLVM
    from adjit.compiler.build import build

    return build, adjit.compiler.pipeline.lowered


def _watched(graph: Graph, strict: bool, threads: int | None, asked: set[str], debug: bool) -> Executable:
    """The executable of a program that is looked at: made anew, as the cache knows no stages and no lines."""
    from adjit.compiler.build import LEVEL, build, llvm_text
    from adjit.compiler.pipeline import stages

    shots = list(stages(graph, strict=strict))
    last = shots[-1][1]
    debug = debug or "ADJIT_DEBUG_INFO" in asked or "ADJIT_PERF" in asked
    found = build(last, strict=strict, threads=threads, debug=debug)
    if "ADJIT_PERF" in asked:
        from adjit.compiler.llvm.perf import write_map

        assert isinstance(found.library, Library)
        write_map(llvm_text(last, strict=strict, threads=threads, debug=True), LEVEL, found.library)
    if "ADJIT_DUMP_DIR" in asked:
        from adjit.compiler.dump import dump_program

        text = llvm_text(last, strict=strict, threads=threads)
        dump_program(os.environ["ADJIT_DUMP_DIR"], graph, shots, text, LEVEL)
    return found


def _key(graph: Graph, strict: bool, threads: int) -> bytes | None:
    """The program's key in the cache; None without a cache, and where this package's files do not tell its meaning."""
    if default_cache() is None or os.environ.get("ADJIT_CHECK") == "1" or any_registered():
        return None
    ops = {node.op for each in (*callees(graph), graph) for node in each.walk()}
    if not all(op.home.startswith(_HOMES) for op in ops):
        return None
    settings = [os.environ.get(name, "") for name in _METHODS]
    return cache_key("program", _surroundings(), str(strict), str(threads), *settings, structural_hash(graph))


@functools.cache
def _surroundings() -> str:
    """What else decides a program's code: the files that make it, by name, size and time; the machine; LLVM."""
    folders = [str(Path(__file__).parent), *adjit.ir.__path__, *adjit.runtime.__path__]
    files = sorted(fact for folder in folders for fact in _files(folder))
    files.append(f"numpy:{np.__version__}:{identity()}")  # whose library programs call
    return object_key("\n".join(files), host_target(), 0, False).hex()


def _files(folder: str) -> list[str]:
    """Name, size and time of the Python files in a folder and below: some 300, so each step counts."""
    found, folders = [], [folder]
    for each in folders:
        with os.scandir(each) as items:
            for item in items:
                name = item.name
                if name.endswith(".py"):
                    facts = item.stat()
                    found.append(f"{item.path}:{facts.st_size}:{facts.st_mtime_ns}")
                elif name != "__pycache__" and item.is_dir():
                    folders.append(item.path)
    return found


def _stored(
    graph: Graph, key: bytes, strict: bool, threads: int, quick: bool, patient: bool
) -> Executable | None:
    """The program under `key`, loaded; its quick code only if that is asked for."""
    cache = default_cache()
    text = cache.get(key) if cache else None
    if cache is None or text is None:
        return None
    facts = json.loads(text)
    own, after = bytes.fromhex(facts.pop("object")), facts.pop("after")
    code = cache.get(own) if quick or not after else None
    if code is None:
        return None
    arena, workspaces = size_of_plain(facts.pop("arena")), tuple(map(size_of_plain, facts.pop("workspaces")))
    fields: dict[str, Any] = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    layout = Layout(**fields, arena=arena, workspaces=workspaces)

    def better() -> tuple[object, int]:
        build, lowered = _maker()
        with collector_paused():
            best = build(lowered(graph, strict=strict), strict=strict, threads=threads)
        assert isinstance(best.library, Library)
        if best.layout != layout:  # callers keep memory of this layout
            raise CompileError(f"@{graph.name}: the program in the disk cache is another one; remove it there")
        _store(key, best.layout, best.library.key, after=0)
        return best.library, best.library.address(MAIN)

    return load_program(graph, code, own, layout, better=better if after else None, after=after if patient else 1)


def _store(key: bytes | None, layout: Layout, own: bytes, after: int) -> None:
    """Remember a program by its object's key, if it knows no host functions.

    Of quick code, `after` is how many calls lose what the best takes to make.
    """
    cache = default_cache()
    if key and cache and not (layout.host_calls or layout.checks):
        needs = {"arena": plain_size(layout.arena), "workspaces": list(map(plain_size, layout.workspaces))}
        facts = fields_of(layout) | needs | {"object": own.hex(), "after": after}
        cache.put(key, json.dumps(facts).encode())
