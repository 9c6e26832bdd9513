"""The disk cache returns what was stored or nothing, whatever happens to its files."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from adjit.runtime.cache import DiskCache, cache_key, default_cache
from tests.threads import in_child

KEY = cache_key("key")
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="forks, modes and owners"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def entries(cache: DiskCache) -> list[Path]:
    return sorted(cache.directory.glob("*.entry"))


def quiet_uses(cache: DiskCache) -> list[str]:
    """The warnings of several uses of a cache, each of which must come out as a miss."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            cache.put(KEY, b"value" * 1000)
            assert cache.get(KEY) is None
    return [str(warning.message) for warning in told]


@pytest.mark.parametrize("value", [b"", b"x", bytes(range(256)) * 100])
def test_round_trip(tmp_path: Path, value: bytes) -> None:
    cache = DiskCache(tmp_path / "new" / "folder")
    assert cache.get(KEY) is None
    cache.put(KEY, value)
    assert cache.get(KEY) == value
    assert DiskCache(cache.directory).get(KEY) == value
    assert cache.get(cache_key("other")) is None
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    cache.clear()
    assert cache.get(KEY) is None


def test_key_separates_parts() -> None:
    lists = [("a", "bc"), ("ab", "c"), ("abc",), ("abc", ""), ("", "abc"), ()]
    assert len({cache_key(*parts) for parts in lists}) == len(lists)
    assert all(len(cache_key(*parts)) == 32 for parts in lists)


def damaged(entry: bytes) -> list[bytes]:
    """`entry` with each byte changed, cut at each length, lengthened, and zeroed."""
    flipped = [entry[:i] + bytes([entry[i] ^ flip]) + entry[i + 1 :] for i in range(len(entry)) for flip in (1, 255)]
    return [*flipped, *(entry[:i] for i in range(len(entry))), entry + b"\0", bytes(len(entry))]


def test_every_damage_is_a_miss(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, b"machine code")
    (path,) = entries(cache)
    good = path.read_bytes()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for bad in damaged(good):
            path.write_bytes(bad)
            assert cache.get(KEY) is None
            assert not path.exists()
            cache.put(KEY, b"machine code")
            assert cache.get(KEY) == b"machine code"
    assert [("damaged entry" in str(warning.message)) for warning in told] == [True]


def test_entry_of_another_key_is_a_miss(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, b"value")
    other = cache_key("other")
    entries(cache)[0].rename(tmp_path / (other.hex() + ".entry"))
    with pytest.warns(RuntimeWarning, match="damaged entry"):
        assert cache.get(other) is None


@pytest.mark.parametrize("case", ["a file in its place", "writable by others", "relative"])
def test_unusable_folder_costs_one_warning(tmp_path: Path, case: str) -> None:
    directory = tmp_path / "cache"
    if case == "a file in its place":
        directory.write_text("in the way")
    elif case == "writable by others":
        directory.mkdir()
        directory.chmod(0o777)
    else:
        directory = Path("cache")
    told = quiet_uses(DiskCache(directory))
    assert len(told) == 1
    assert "without its disk cache" in told[0]


def test_linked_entry_is_refused(tmp_path: Path) -> None:
    elsewhere = DiskCache(tmp_path / "elsewhere")
    elsewhere.put(KEY, b"planted")
    cache = DiskCache(tmp_path / "cache")
    cache.put(cache_key("first"), b"")
    (cache.directory / entries(elsewhere)[0].name).symlink_to(entries(elsewhere)[0])
    with pytest.warns(RuntimeWarning, match="without its disk cache"):
        assert cache.get(KEY) is None


def test_read_only_folder() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, nobody, nobody)
        os.chmod(folder, 0o500)

        def use() -> None:
            if os.geteuid() == 0:
                os.setuid(nobody)
            assert len(quiet_uses(DiskCache(Path(folder)))) == 1

        assert in_child(use) == 0
        os.chmod(folder, 0o700)


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def use() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        assert len(quiet_uses(DiskCache(tmp_path))) == 1

    assert in_child(use) == 0
    assert list(tmp_path.iterdir()) == []


def test_size_stays_bounded_and_recent_entries_stay(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, limit=20_000)
    keys = [cache_key(str(number)) for number in range(60)]
    for number, key in enumerate(keys):
        cache.put(key, bytes(1000))
        assert cache.size() <= cache.limit
        cache.get(keys[0])
        for path in entries(cache):  # time stamps are coarser than this loop: the used entry is the newest
            age = 0 if path.name.startswith(keys[0].hex()) else 1000 - number
            if path.stat().st_mtime > time.time() - 100:
                os.utime(path, (time.time() - age, time.time() - age))
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[-1]) is not None
    assert cache.get(keys[1]) is None


def test_large_limit_is_seldom_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, limit=16 * 2**20)
    sweeps: list[int] = []
    monkeypatch.setattr(cache, "sweep", lambda: sweeps.append(1))
    for number in range(256):
        cache.put(cache_key(str(number)), bytes(2**13))
    assert 2 < len(sweeps) < 20  # eight expected, one in 256 kB; the keys, and so the count, are fixed


def test_partial_files_of_dead_writers_are_swept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, b"value")
    old, young = tmp_path / ".1-old.partial", tmp_path / ".2-young.partial"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    cache.sweep()
    assert (old.exists(), young.exists(), cache.get(KEY)) == (False, True, b"value")


def test_writers_in_several_processes(tmp_path: Path) -> None:
    """Each read is a miss or the value of its key, while four processes write, sweep and clear."""
    keys = {cache_key(str(number)): bytes([number]) * 3000 for number in range(8)}

    def work() -> None:
        cache = DiskCache(tmp_path, limit=15_000)
        for turn in range(40):
            for key, value in keys.items():
                cache.put(key, value)
                assert cache.get(key) in (None, value)
            if turn % 10 == 9:
                cache.clear()

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                warnings.simplefilter("error")
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4


def test_killed_writers_leave_good_entries(tmp_path: Path) -> None:
    value = os.urandom(2**20)
    for turn in range(8):
        child = os.fork()
        if child == 0:
            cache = DiskCache(tmp_path)
            while True:
                cache.put(KEY, value)
        time.sleep(0.004 + 0.003 * turn)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert DiskCache(tmp_path).get(KEY) in (None, value)
    cache = DiskCache(tmp_path)
    cache.put(KEY, value)
    assert cache.get(KEY) == value


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ADJIT_CACHE", raising=False)
    cache = default_cache()
    assert cache is not None
    assert cache.directory == tmp_path
    assert default_cache() is cache
    monkeypatch.setenv("ADJIT_CACHE", "0")
    assert default_cache() is None
