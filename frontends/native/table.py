"""The tables in which the native entry looks for the signatures of a function's calls."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np

from adjit.compiler.entry import known as k
from adjit.native.signature import Signature
from adjit.native.words import address, mixed
from adjit.tensor import Tensor

# The most calls that must miss a full table before its signatures are weighed.
_LONGEST = 1 << 16
# Bytes that many signatures may hold for their programs' temporaries; so few may hold any.
_MOST_BYTES, FEW = 1 << 27, 16
_tables: WeakSet[Table] = WeakSet()


class Table:
    """A function's signatures, `most` at a time.

    Python keeps all that the native entry may come upon in one list, which a call that is served holds: what is
    forgotten meanwhile lives as long as the call.  Who changes the table has its `lock`.
    """

    def __init__(self, words: np.ndarray, most: int) -> None:
        self.words = words
        self.lock = Lock()
        self._most = self._patience = most
        self._missed = 0
        self._before: dict[int, int] = {}  # how many calls each signature had served
        self._seen: dict[Any, int] = {}
        self._kept: list[tuple[Signature, np.ndarray, int]] = []
        self.forget()
        _tables.add(self)

    def __len__(self) -> int:
        return len(self._kept)

    def times(self, kind: Any) -> int:
        """How often calls of a kind came to Python, with this one."""
        if len(self._seen) >= 4 * self._most:
            self._seen.clear()
        self._seen[kind] = count = self._seen.get(kind, 0) + 1
        return count

    def calls(self, owner: Any = None) -> int:
        """How many calls the signatures, or those of an owner, served that are there."""
        own = (words for signature, words, _ in self._kept if owner is None or signature.owner is owner)
        return sum(int(words[k.CALLS]) for words in own)

    def has_room(self) -> bool:
        """Whether a signature may join; in a full table that many calls missed, those make room that served none since.

        Where all served, twice as many must miss: signatures that come again and again do not push each other out.
        """
        held = sum(signature.nbytes for signature, *_ in self._kept)
        if len(self) < FEW or (len(self) < self._most and held <= _MOST_BYTES):
            return True
        self._missed += 1
        if self._missed < self._patience:
            return False
        self._missed = 0
        made_room = self._drop_idle()
        self._patience = self._most if made_room else min(2 * self._patience, _LONGEST)
        return made_room

    def _drop_idle(self) -> bool:
        """Forget the signatures that served no call since this was asked last; whether there were any."""
        calls = [int(words[k.CALLS]) for _, words, _ in self._kept]
        kept = [item for item, now in zip(self._kept, calls, strict=True) if self._before.get(id(item[1]), 0) < now]
        self._before = {id(words): now for (_, words, _), now in zip(self._kept, calls, strict=True)}
        if len(kept) == len(self._kept):
            return False
        self._replace(kept)
        return True

    def _replace(self, kept: list[tuple[Signature, np.ndarray, int]]) -> None:
        """Keep some signatures alone; calls of the others count as their owners'."""
        self.words[k.BUCKETS :] = self.words[k.OPEN_SIGNATURES] = 0
        before, self._kept = self._kept, kept
        self.words[k.HELD] = id(self._kept)
        for _, words, place in kept:
            words[k.NEXT] = self.words[place]
            self.words[place] = address(words)
        staying = {id(words) for _, words, _ in kept}
        for signature, words, _ in before:
            if signature.owner is not None and id(words) not in staying:
                signature.owner.calls += int(words[k.CALLS])
        self._before = {number: calls for number, calls in self._before.items() if number in staying}
        self._seen.clear()

    def put(self, signature: Signature, operands: tuple[Any, ...], needs: int) -> bool:
        """Serve calls with operands like these; False for what cannot be called."""
        words = signature.words()
        if words is None:
            return False
        place = k.OPEN_SIGNATURES
        if signature.opening is None:
            mode = self.words[k.FIXED]
            fixed = mode == k.ALWAYS or (mode == k.WHERE_RECORDED and needs != 0)
            place = k.BUCKETS + _bucket(operands, needs, int(words[k.NAMES]), fixed=bool(fixed))
        self._kept.append((signature, words, place))
        words[k.NEXT] = self.words[place]
        self.words[place] = address(words)
        return True

    def renew(self) -> None:
        """Free what threads held that a forked child does not have: the lock, and signatures' memory."""
        self.lock = Lock()
        for signature, words, _ in self._kept:
            words[k.BUSY] = 0
            if signature.opening is not None:
                signature.opening.words[k.O_BUSY] = 0

    def take_any_number(self) -> None:
        """From here on numbers tell no calls apart, whatever is recorded."""
        if self.words[k.FIXED] != k.NEVER:
            self.forget()
            self.words[k.FIXED] = k.NEVER

    def forget(self) -> None:
        """Leave all calls to Python until they are learnt again."""
        self._replace([])
        self._missed = 0


def _renew_tables() -> None:
    """Let a forked child learn, and call, what other threads were at."""
    for table in _tables:
        table.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_tables)


def _bucket(operands: tuple[Any, ...], needs: int, names: int, *, fixed: bool) -> int:
    """As the native entry computes it."""
    code = (needs + len(operands) * 64 + (names >> 4)) % 2**64
    for x in operands:
        array = x._array if isinstance(x, Tensor) else x
        if isinstance(array, np.ndarray):
            code = mixed(code, id(array.dtype) >> 4)
            for extent in array.shape:
                code = mixed(code, extent)
        elif fixed and type(x) is float:
            code = mixed(code, int(np.float64(x).view(np.uint64)))
        elif fixed and type(x) is int:
            code = mixed(code, x % 2**64)
    return code % k.BUCKET_COUNT
