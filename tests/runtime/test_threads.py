"""The thread count: where it comes from, and what may be set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adjit.runtime import threads


@pytest.fixture(autouse=True)
def fresh_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = threads._count
    monkeypatch.delenv("ADJIT_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_count", None)
    yield
    monkeypatch.undo()
    if before is not None:
        threads.set_num_threads(before)


def fake_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(threads, "_read", lambda path: files.get(str(path)))


@pytest.mark.parametrize(
    ("own", "openmp", "expected"),
    [("3", None, 3), ("3", "5", 3), (None, "5", 5), (None, "6,2", 6), (" 7 ", None, 7), ("", "4", 4)],
)
def test_environment(monkeypatch: pytest.MonkeyPatch, own: str | None, openmp: str | None, expected: int) -> None:
    for name, value in (("ADJIT_NUM_THREADS", own), ("OMP_NUM_THREADS", openmp)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert threads.get_num_threads() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_own_variable_must_be_a_count(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ADJIT_NUM_THREADS", value)
    with pytest.raises(RuntimeError, match="ADJIT_NUM_THREADS must be a positive integer"):
        threads.get_num_threads()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/cpu.max": "max 100000"}, None),
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 3),
        (
            {
                "/proc/self/cgroup": "0::/a/b",
                "/sys/fs/cgroup/a/b/cpu.max": "400000 100000",
                "/sys/fs/cgroup/a/cpu.max": "200000 100000",
                "/sys/fs/cgroup/cpu.max": "max 100000",
            },
            2,
        ),
        ({"/proc/self/cgroup": "0::/", "/sys/fs/cgroup/cpu.max": "100000 100000"}, 1),
        (
            {
                "/proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            {
                "/proc/self/cgroup": "4:cpu,cpuacct:/x",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_cgroup_limit(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int | None) -> None:
    fake_files(monkeypatch, files)
    assert threads._cgroup_limit() == expected


def test_hardware_threads_of_a_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    fake_files(monkeypatch, {siblings.format(i): f"{i % 2},{i % 2 + 2}" for i in range(4)})
    assert threads._physical({0, 1, 2, 3}) == 2
    assert threads._physical({0, 2}) == 1
    assert threads._physical({8, 9}) == 2


def test_default_is_this_machine() -> None:
    limit = threads._cgroup_limit()
    assert 1 <= threads.get_num_threads() <= (limit or 1 << 16)
    assert Path("/proc").exists() or limit is None


@pytest.mark.parametrize(
    ("count", "error"), [(0, RuntimeError), (-2, RuntimeError), (2.0, TypeError), (True, TypeError)]
)
def test_set_refuses(count: int, error: type[Exception]) -> None:
    before = threads.get_num_threads()
    with pytest.raises(error, match="set_num_threads expects"):
        threads.set_num_threads(count)
    assert threads.get_num_threads() == before


def test_set() -> None:
    threads.set_num_threads(3)
    assert threads.get_num_threads() == 3
