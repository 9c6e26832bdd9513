"""What LLVM says of this machine, and its versions, remembered in the disk cache: llvmlite takes 30 ms to import."""

from __future__ import annotations

import functools
import json
import platform
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from adjit.ir.frozen import frozen
from adjit.runtime.cache import cache_key, default_cache

# Of the processors' description, which repeats itself: enough for the first one's model and features.
_DESCRIPTION = 8192


@frozen
class Host:
    """The host's triple, processor and features in LLVM's words, and the versions of llvmlite and LLVM."""

    triple: str
    cpu: str
    features: str
    llvmlite: str
    llvm: str


@functools.cache
def host() -> Host:
    """What LLVM says of this machine."""
    key = _key()
    cache = default_cache() if key else None
    text = cache.get(key) if cache and key else None
    if text is not None:
        return Host(*json.loads(text))
    from adjit.compiler.llvm.binding import LLVM_VERSION, LLVMLITE_VERSION, llvm

    features = llvm.get_host_cpu_features().flatten()
    words = [llvm.get_process_triple(), llvm.get_host_cpu_name(), features, LLVMLITE_VERSION, LLVM_VERSION]
    if cache and key:
        cache.put(key, json.dumps(words).encode())
    return Host(*words)


def llvm_versions() -> tuple[str, str]:
    """The versions of llvmlite and of LLVM."""
    return host().llvmlite, host().llvm


def _key() -> bytes | None:
    """The key of the answers: the processor, the system, and llvmlite's library by place, size and time.

    None where the system does not describe the processor.
    """
    found = PathFinder.find_spec("llvmlite")
    if not sys.platform.startswith("linux") or found is None or found.origin is None:
        return None
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(_DESCRIPTION).splitlines()
        files = [item.stat() for item in sorted((Path(found.origin).parent / "binding").glob("libllvmlite*"))]
    except OSError:
        return None
    # What changes from moment to moment is no part of it.
    about = [line for line in lines if not line.startswith(("cpu MHz", "bogomips", "processor", "core id", "apicid"))]
    first = about[: about.index("")] if "" in about else about
    facts = [f"{item.st_size}:{item.st_mtime_ns}" for item in files]
    return cache_key("host", platform.release(), platform.machine(), sys.version, found.origin, *facts, *first)
