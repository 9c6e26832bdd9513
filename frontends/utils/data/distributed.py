"""`DistributedSampler`: the part of a dataset that one of several processes takes."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from adjit.distributed import is_available
from adjit.generator import Generator
from adjit.random import randperm
from adjit.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th sample from `rank` on, of all samples in order or as `seed` and the epoch shuffle them.

    All processes take as many: the first samples again where the last turn lacks some, or with `drop_last` none of that
    turn.  `set_epoch` before a pass gives it another order.
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if (num_replicas is None or rank is None) and not is_available():
            raise RuntimeError("Requires distributed package to be available")
        assert num_replicas is not None and rank is not None
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else -(-count // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order = list(range(count))
        if self.shuffle:
            order = randperm(count, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()
        return iter([order[place % count] for place in range(self.rank, self.total_size, self.num_replicas)])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Shuffle the next passes as of this epoch."""
        self.epoch = epoch


__all__ = ["DistributedSampler"]
