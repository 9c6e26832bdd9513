"""How many threads kernels use: the one count, and its delivery to the native pool.

The pool itself is native (compiler/llvm/pool.py) and starts its threads at the first job that can be cut.  This
module knows it only as two addresses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_count: int | None = None
_deliver: Callable[[int], object] | None = None
_reset: Callable[[], object] | None = None


def get_num_threads() -> int:
    """The number of threads a kernel may use.

    Until `set_num_threads` is called: ADJIT_NUM_THREADS, else OMP_NUM_THREADS, else the cores that this process may
    run on (affinity, physical cores, the cgroup's cpu limit).
    """
    global _count
    if _count is None:
        _count = _from_environment() or _usable_cores()
    return _count


def set_num_threads(count: int) -> None:
    """Let kernels use `count` threads from the next call on; results do not depend on it.

    Errors: TypeError unless `count` is an int, RuntimeError unless it is positive.
    """
    global _count
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(count).__name__}")
    if count < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _count = count
    if _deliver is not None:
        _deliver(count)


def install(deliver: int, reset: int) -> None:
    """Take the native pool: addresses of `void deliver(i32 threads)` and of `void reset()`.

    `reset` forgets all worker threads; it is called in a child after fork, which has none of them.
    """
    import ctypes

    global _deliver, _reset
    if _reset is None and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_workers)
    _deliver = ctypes.CFUNCTYPE(None, ctypes.c_int32)(deliver)
    _reset = ctypes.CFUNCTYPE(None)(reset)
    _deliver(get_num_threads())


def _forget_workers() -> None:
    if _reset is not None:
        _reset()


def _from_environment() -> int | None:
    """The count named by the environment, or None."""
    own = os.environ.get("ADJIT_NUM_THREADS", "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise RuntimeError(f"ADJIT_NUM_THREADS must be a positive integer, not {own!r}")
        return int(own)
    # OpenMP allows a list, one count per nesting level; the first is the outer one.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) >= 1 else None


def _usable_cores() -> int:
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = _physical(processors)
    limit = _cgroup_limit()
    return max(1, cores if limit is None else min(cores, limit))


def _physical(processors: set[int]) -> int:
    """The number of cores behind these processors: hardware threads of one core share its arithmetic units."""
    cores = set()
    for processor in processors:
        listed = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        cores.add(_read(listed) or str(processor))
    return len(cores)


def _cgroup_limit() -> int | None:
    """Whole processors that the cgroup's cpu quota amounts to (rounded up), or None if it has none.

    Source: the kernel's cgroup-v2.rst (`cpu.max`: "quota period" or "max period", each ancestor's counts) and
    sched-bwc.rst (version 1: cpu.cfs_quota_us, -1 for none).
    """
    root = Path("/sys/fs/cgroup")
    quotas = []
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    quotas.append((_read(folder / "cpu.max") or "").split())
        elif "cpu" in controllers.split(","):
            for folder in (root / "cpu" / path.lstrip("/"), root / "cpu"):
                parts = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
                quotas.append([part for part in parts if part])
    limits = [
        -(-int(quota[0]) // int(quota[1]))
        for quota in quotas
        if len(quota) == 2 and quota[0].isdecimal() and quota[1].isdecimal() and int(quota[1]) > 0
    ]
    return min(limits, default=None)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # not this kernel, or not visible in this container: no limit is known from it
        return None
