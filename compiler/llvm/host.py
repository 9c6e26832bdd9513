"""What LLVM says of this machine, and its versions, remembered in the disk cache, which spares loading LLVM."""

from __future__ import annotations

import functools
import json
import platform
import sys

from adjit.compiler.llvm.ahead import libraries
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
    found = remembered()
    if found is not None:
        return found
    from adjit.compiler.llvm.binding import LLVM_VERSION, LLVMLITE_VERSION, process_triple, processor

    words = [process_triple(), *processor(), LLVMLITE_VERSION, LLVM_VERSION]
    key, cache = _key(), default_cache()
    if cache and key:
        cache.put(key, json.dumps(words).encode())
    return Host(*words)


@functools.cache
def remembered() -> Host | None:
    """What the disk cache knows of this machine, if it does; LLVM is not needed then."""
    key = _key()
    cache = default_cache() if key else None
    text = cache.get(key) if cache and key else None
    return None if text is None else Host(*json.loads(text))


def llvm_versions() -> tuple[str, str]:
    """The versions of llvmlite and of LLVM."""
    return host().llvmlite, host().llvm


@functools.cache
def _key() -> bytes | None:
    """The key of the answers: the processor, the system, and llvmlite's library by place, size and time.

    None where the system does not describe the processor.
    """
    files = libraries()
    if not sys.platform.startswith("linux") or not files:
        return None
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(_DESCRIPTION).splitlines()
        facts = [f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
    except OSError:
        return None
    # What changes from moment to moment is no part of it.
    about = [line for line in lines if not line.startswith(("cpu MHz", "bogomips", "processor", "core id", "apicid"))]
    first = about[: about.index("")] if "" in about else about
    return cache_key("host", platform.release(), platform.machine(), sys.version, *facts, *first)
