"""Patterns: a set of columns for each row, as in a sparse matrix without its values (CSR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.frozen import frozen

Integers = NDArray[np.int64]
# Beyond this many entries a Jacobian is no sparse matrix: what asks for one is told so.
MOST = 100_000_000


@frozen
class Pattern:
    """Row i has the columns indices[indptr[i]:indptr[i + 1]], in ascending order, each once."""

    indptr: Integers
    indices: Integers
    columns: int

    @property
    def rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def count(self) -> int:
        """The number of entries."""
        return len(self.indices)

    @staticmethod
    def identity(size: int) -> Pattern:
        return Pattern.block(size, 0, size)

    @staticmethod
    def block(size: int, start: int, columns: int) -> Pattern:
        """Row i has the column start + i."""
        return Pattern(np.arange(size + 1), np.arange(start, start + size), columns)

    @staticmethod
    def empty(rows: int, columns: int) -> Pattern:
        return Pattern(np.zeros(rows + 1, np.int64), np.zeros(0, np.int64), columns)

    @staticmethod
    def of_pairs(rows: NDArray[Any], columns: NDArray[Any], count: int, width: int) -> Pattern:
        """The pattern with an entry at each (row, column); pairs may repeat."""
        keys = np.unique(np.asarray(rows, np.int64) * width + columns)
        found, rest = np.divmod(keys, width) if width else (keys, keys)
        return Pattern(np.searchsorted(found, np.arange(count + 1)), rest, width)

    @staticmethod
    def stacked(parts: Sequence[Pattern], columns: int) -> Pattern:
        """The rows of all parts, one part after the other."""
        if not parts:
            return Pattern.empty(0, columns)
        starts = np.cumsum([0, *(part.count for part in parts)])
        ends = [part.indptr[1:] + start for part, start in zip(parts, starts, strict=False)]
        indptr = np.concatenate([np.zeros(1, np.int64), *ends])
        return Pattern(indptr, np.concatenate([part.indices for part in parts]), columns)

    @staticmethod
    def union(parts: Sequence[Pattern]) -> Pattern:
        """Row by row, the columns of any part."""
        first = parts[0]
        different = [part for part in parts[1:] if part is not first]
        if not different:
            return first
        pairs = [part.pairs() for part in (first, *different)]
        rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
        return Pattern.of_pairs(rows, columns, first.rows, first.columns)

    def pairs(self) -> tuple[Integers, Integers]:
        """The rows and the columns of the entries, row by row."""
        return np.repeat(np.arange(self.rows), np.diff(self.indptr)), self.indices

    def take(self, places: NDArray[Any]) -> Pattern:
        """The rows at `places`; one at -1 is empty.  Errors: ValueError for too many entries."""
        counts = np.where(places < 0, 0, np.diff(self.indptr, append=self.indptr[-1:])[places])
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        if indptr[-1] > MOST:
            raise ValueError(f"the pattern has {indptr[-1]} entries: it is not sparse")
        offsets = np.repeat(self.indptr[places] - indptr[:-1], counts)
        return Pattern(indptr, self.indices[offsets + np.arange(indptr[-1])], self.columns)

    def grouped(self, labels: NDArray[Any], rows: int) -> Pattern:
        """Row r has the columns of all rows with the label r."""
        before, columns = self.pairs()
        return Pattern.of_pairs(labels[before], columns, rows, self.columns)

    def after(self, inner: Pattern) -> Pattern:
        """The product with `inner`: row i has the columns of all rows of `inner` that it names."""
        taken = inner.take(self.indices)
        rows = np.repeat(np.repeat(np.arange(self.rows), np.diff(self.indptr)), np.diff(taken.indptr))
        return Pattern.of_pairs(rows, taken.indices, self.rows, inner.columns)

    def transposed(self) -> Pattern:
        rows, columns = self.pairs()
        return Pattern.of_pairs(columns, rows, self.columns, self.rows)

    def symmetric(self) -> Pattern:
        """The pattern together with its transpose."""
        return Pattern.union([self, self.transposed()])
