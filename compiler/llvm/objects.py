"""Machine code as bytes: its key in the disk cache, and loading it into this process, where possible without LLVM."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from adjit.compiler.llvm.host import llvm_versions
from adjit.compiler.llvm.link import link
from adjit.compiler.llvm.target import Target
from adjit.runtime.cache import cache_key, default_cache

# Raised when the same text would be compiled otherwise than before: it is part of every cache key.
PIPELINE_VERSION = 6

# Before several objects in one run of bytes: their count, and each with its length.
_MAGIC = b"adjitset"
_COUNT = struct.Struct("<Q")

# Held while what a process has one of is made: the pool, the native entry.
_compiling = threading.RLock()
# Held while an object is looked up and compiled, by its key, so that threads asking for the same one compile it once.
_locks: WeakValueDictionary[bytes, threading.RLock] = WeakValueDictionary()
_guard = threading.Lock()


def compile_lock() -> threading.RLock:
    """The lock under which this process makes what it has one of."""
    return _compiling


def _lock_of(key: bytes) -> threading.RLock:
    with _guard:
        return _locks.setdefault(key, threading.RLock())


def _renew_locks() -> None:
    """Give a forked child locks of its own: the threads that held the old ones are not in the child."""
    global _compiling, _guard, _locks
    _compiling, _guard, _locks = threading.RLock(), threading.Lock(), WeakValueDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Library:
    """Loaded code: the addresses of its exports, valid for exactly as long as this object lives.

    `key` is that of its object in the disk cache.
    """

    __slots__ = ("__weakref__", "_addresses", "_code", "key")

    def __init__(self, code: object, addresses: Mapping[str, int], key: bytes) -> None:
        self.key = key
        self._code = code
        self._addresses = dict(addresses)

    def address(self, name: str) -> int:
        """The address of the exported symbol `name`; KeyError if it was not exported."""
        return self._addresses[name]


def pack(objects: Sequence[bytes]) -> bytes:
    """Objects as one run of bytes; a single one as it is."""
    if len(objects) == 1:
        return objects[0]
    return b"".join([_MAGIC, _COUNT.pack(len(objects)), *(_COUNT.pack(len(each)) + each for each in objects)])


def unpack(code: bytes) -> list[bytes]:
    """The objects in a run of bytes."""
    if not code.startswith(_MAGIC):
        return [code]
    (count,) = _COUNT.unpack_from(code, len(_MAGIC))
    objects, place = [], len(_MAGIC) + _COUNT.size
    for _ in range(count):
        (size,) = _COUNT.unpack_from(code, place)
        place += _COUNT.size
        objects.append(code[place : place + size])
        place += size
    return objects


def cached_object(key: bytes, make: Callable[[], bytes]) -> bytes:
    """The object under `key` in the disk cache, where it is put once made."""
    with _lock_of(key):
        cache = default_cache()
        code = cache.get(key) if cache else None
        if code is None:
            code = make()
            if cache:
                cache.put(key, code)
        return code


def object_key(text: str, target: Target, level: int | str, vectorize: bool) -> bytes:
    """The cache key of the object: everything that its bytes depend on."""
    machine = (target.triple, target.cpu, target.features, target.abi)
    options = (str(level), str(vectorize))
    return cache_key("object", str(PIPELINE_VERSION), *llvm_versions(), *machine, *options, text)


def load(code: bytes, exports: Iterable[str], imports: Mapping[str, int], key: bytes = b"") -> Library:
    """Link an object, which has this key in the disk cache, into this process.

    Errors: CompileError if the object cannot be read, or a name has no address.
    """
    names = tuple(exports)
    found = link(unpack(code), names, imports)
    if found is not None:
        return Library(*found, key)
    from adjit.compiler.llvm.jit import load_by_llvm

    return load_by_llvm(code, names, imports, key)
