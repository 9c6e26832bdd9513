"""A disk cache of bytes: key -> value, checked before use, shared by processes, bounded in size.

An entry is a file named after its key: magic, format version, key, length, sha256 of the value, the value.  Whatever
fails to match is a miss.  No entry is ever executed or unpickled here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"adjitobj"
FORMAT = 1
DEFAULT_LIMIT = 512 * 2**20
_HEAD = struct.Struct("<8sI32sQ32s")
_SUFFIX = ".entry"
_PARTIAL = ".partial"
_STALE_SECONDS = 3600.0  # a partial file this old was left by a process that died


def cache_key(*parts: str) -> bytes:
    """sha256 of the parts, each with its length, so that no two lists of parts run together."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def default_cache() -> DiskCache | None:
    """The cache of this user: in ADJIT_CACHE_DIR or the system's cache folder; None if ADJIT_CACHE=0.

    The environment is read at each call, so a change takes effect at once.
    """
    if os.environ.get("ADJIT_CACHE") == "0":
        return None
    return _opened(os.environ.get("ADJIT_CACHE_DIR") or _user_directory())


@functools.cache
def _opened(directory: str) -> DiskCache:
    return DiskCache(Path(directory))


@functools.cache
def _user_directory() -> str:
    import platformdirs

    return platformdirs.user_cache_dir("adjit", appauthor=False)


class DiskCache:
    """Values by 32-byte keys in `directory`, which is made private to the user, holding at most about `limit` bytes.

    Entries appear whole or not at all (a temporary file, then a rename), so processes share a directory without
    locks.  The first OSError, or a directory that others could write to, gives one warning and turns the cache off.
    """

    def __init__(self, directory: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self._ready = False
        self._off = False
        self._told = False

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        if not self._usable():
            return None
        path = self._path(key)
        try:
            entry = self._read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._turn_off(error)
            return None
        value = _checked(entry, key)
        if value is None:
            self._discard(path)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Store `value` under `key`."""
        if not self._usable():
            return
        entry = _HEAD.pack(MAGIC, FORMAT, key, len(value), hashlib.sha256(value).digest()) + value
        path = self._path(key)
        partial = self._file(f".{os.getpid()}-{os.urandom(8).hex()}{_PARTIAL}")
        try:
            self._write(partial, entry)
            os.replace(partial, path)
            if self._sweep_is_due(key, len(entry)):
                self.sweep()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            self._turn_off(error)

    def size(self) -> int:
        """Bytes in the cache's entries."""
        return sum(size for _, size, _ in self._entries(_SUFFIX))

    def count(self) -> int:
        """The number of entries."""
        return sum(1 for _ in self._entries(_SUFFIX))

    def sweep(self) -> None:
        """Delete the least recently used entries until 7/8 of the limit remains, if the limit is passed."""
        now = time.time()
        for modified, _, path in self._entries(_PARTIAL):
            if now - modified > _STALE_SECONDS:
                _unlink(path)
        entries = sorted(self._entries(_SUFFIX))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in entries:
            if total <= self.limit * 7 // 8:
                break
            _unlink(path)
            total -= size

    def clear(self) -> None:
        """Delete every entry."""
        for _, _, path in self._entries(_SUFFIX):
            _unlink(path)

    def _path(self, key: bytes) -> str:
        return self._file(key.hex() + _SUFFIX)

    def _file(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _read(self, path: str) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or not _is_ours(facts):
                raise PermissionError(f"{path} is not a regular file of this user")
            # Recency only orders evictions: a file system that refuses the time stamp still serves the entry.
            with contextlib.suppress(OSError):
                os.utime(descriptor if os.utime in os.supports_fd else path)
            return file.read()

    def _write(self, path: str, entry: bytes) -> None:
        # No fsync: an entry that a power cut tears fails its checksum, and is a miss.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(entry)

    def _entries(self, suffix: str) -> Iterator[tuple[float, int, str]]:
        """(time of last use, size, path) of each file with `suffix`; files that vanish meanwhile are left out."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as found:
            for item in found:
                if item.name.endswith(suffix):
                    with contextlib.suppress(FileNotFoundError):
                        facts = item.stat(follow_symlinks=False)
                        yield facts.st_mtime, facts.st_size, item.path

    def _sweep_is_due(self, key: bytes, size: int) -> bool:
        """Whether this write should look at the whole directory: on average once per limit/64 bytes written.

        The key, being a hash, serves as the die: no count has to be kept, in this process or between processes.
        """
        return int.from_bytes(key[:8], "little") * self.limit < size * 64 * 2**64

    def _usable(self) -> bool:
        if self._off:
            return False
        if not self._ready:
            try:
                self._prepare()
            except OSError as error:
                self._turn_off(error)
                return False
            self._ready = True
        return True

    def _prepare(self) -> None:
        """Make the directory, and refuse one that somebody else could have put code into."""
        if not self.directory.is_absolute():
            raise FileNotFoundError(f"{self.directory} is not an absolute path (no home folder?)")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = self.directory.stat()
        if not _is_ours(facts) or not _is_ours(self.directory.lstat()):
            raise PermissionError(f"{self.directory} belongs to another user")
        if os.name == "posix" and facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{self.directory} can be written by others")

    def _turn_off(self, error: OSError) -> None:
        self._off = True
        warnings.warn(f"adjit runs without its disk cache: {error}", RuntimeWarning, stacklevel=4)

    def _discard(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)
        if not self._told:
            self._told = True
            warnings.warn(f"adjit's disk cache held a damaged entry, now deleted: {path}", RuntimeWarning, stacklevel=4)


def _checked(entry: bytes, key: bytes) -> bytes | None:
    """The value of `entry`, or None unless all of it is as `put` wrote it under `key`."""
    if len(entry) < _HEAD.size:
        return None
    magic, version, echo, length, digest = _HEAD.unpack_from(entry)
    value = entry[_HEAD.size :]
    if (magic, version, echo, length) != (MAGIC, FORMAT, key, len(value)):
        return None
    return value if hashlib.sha256(value).digest() == digest else None


def _is_ours(facts: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        os.unlink(path)
