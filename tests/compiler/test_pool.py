"""parallel_for runs every element once, whoever calls it, however many threads there are."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from adjit.compiler.llvm import jit, pool
from adjit.compiler.llvm.target import host_target
from adjit.runtime.threads import get_num_threads, set_num_threads
from tests.threads import in_child, meanwhile

# `count`: x[i] += 1 over the piece, and the piece noted in a log.  `logistic`: 40 steps of x = 3.7 x (1 - x).
# `meet`: wait (some seconds at most) until all pieces have begun, and count the pieces that saw that.
# `lag`: wait until both pieces have begun, then stay for 50 million steps where the caller (sizes[0]) does not run it.
# `sit`: note the core of each piece, then wait until all have begun.
# `outer`: for each i of the piece, a parallel_for of `count` over row i.
NAMES = ("count", "logistic", "outer", "meet", "lag", "sit")
KERNELS = """
declare void @adjit_parallel_for(ptr, ptr, ptr, i64, i64)
declare i64 @pthread_self()
declare i32 @sched_getcpu()

define internal void @count(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
entry:
  %x = load ptr, ptr %buffers
  %log_at = getelementptr ptr, ptr %buffers, i64 1
  %log = load ptr, ptr %log_at
  %slot = atomicrmw add ptr %log, i64 1 seq_cst
  %first = mul i64 %slot, 2
  %index = add i64 %first, 1
  %begin_at = getelementptr i64, ptr %log, i64 %index
  store i64 %begin, ptr %begin_at
  %end_at = getelementptr i64, ptr %begin_at, i64 1
  store i64 %end, ptr %end_at
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %at = getelementptr i32, ptr %x, i64 %i
  %old = load i32, ptr %at
  %new = add i32 %old, 1
  store i32 %new, ptr %at
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}

define internal void @logistic(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
entry:
  %x = load ptr, ptr %buffers
  br label %element
element:
  %i = phi i64 [ %begin, %entry ], [ %next, %store ]
  %at = getelementptr double, ptr %x, i64 %i
  %first = load double, ptr %at
  br label %step
step:
  %k = phi i64 [ 0, %element ], [ %k1, %step ]
  %v = phi double [ %first, %element ], [ %w, %step ]
  %u = fsub double 1.0, %v
  %vu = fmul double %v, %u
  %w = fmul double %vu, 3.7
  %k1 = add i64 %k, 1
  %again = icmp ult i64 %k1, 40
  br i1 %again, label %step, label %store
store:
  store double %w, ptr %at
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %element, label %done
done:
  ret void
}

define internal void @outer(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
entry:
  %x = load ptr, ptr %buffers
  %columns = load i64, ptr %sizes
  %inner = alloca [2 x ptr]
  br label %row
row:
  %i = phi i64 [ %begin, %entry ], [ %next, %row ]
  %offset = mul i64 %i, %columns
  %at = getelementptr i32, ptr %x, i64 %offset
  store ptr %at, ptr %inner
  %unused = alloca [64 x i64]
  store i64 0, ptr %unused
  %log_at = getelementptr ptr, ptr %inner, i64 1
  store ptr %unused, ptr %log_at
  call void @adjit_parallel_for(ptr @count, ptr %inner, ptr null, i64 %columns, i64 1)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %row, label %done
done:
  ret void
}

define internal i1 @wait_for(ptr %come, i64 %wanted) {
entry:
  %before = atomicrmw add ptr %come, i64 1 seq_cst
  br label %wait
wait:
  %tries = phi i64 [ 0, %entry ], [ %next, %wait ]
  %here = load atomic i64, ptr %come seq_cst, align 8
  %all = icmp sge i64 %here, %wanted
  %next = add i64 %tries, 1
  %late = icmp sge i64 %next, 3000000000
  %stop = or i1 %all, %late
  br i1 %stop, label %done, label %wait
done:
  ret i1 %all
}

define internal void @meet(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
  %come = load ptr, ptr %buffers
  %wanted = load i64, ptr %sizes
  %all = call i1 @wait_for(ptr %come, i64 %wanted)
  %met_at = getelementptr i64, ptr %come, i64 1
  %one = zext i1 %all to i64
  %counted = atomicrmw add ptr %met_at, i64 %one seq_cst
  ret void
}

define internal void @sit(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
  %come = load ptr, ptr %buffers
  %wanted = load i64, ptr %sizes
  %core = call i32 @sched_getcpu()
  %wide = zext i32 %core to i64
  %place = add i64 %begin, 1
  %at = getelementptr i64, ptr %come, i64 %place
  store i64 %wide, ptr %at
  %all = call i1 @wait_for(ptr %come, i64 %wanted)
  ret void
}

define internal void @lag(ptr %buffers, ptr %sizes, i64 %begin, i64 %end) {
entry:
  %come = load ptr, ptr %buffers
  %caller = load i64, ptr %sizes
  %all = call i1 @wait_for(ptr %come, i64 2)
  %me = call i64 @pthread_self()
  %same = icmp eq i64 %me, %caller
  br i1 %same, label %done, label %stay
stay:
  %step = phi i64 [ 0, %entry ], [ %more, %stay ]
  %seen = load atomic i64, ptr %come seq_cst, align 8
  %more = add i64 %step, 1
  %over = icmp sge i64 %more, 50000000
  br i1 %over, label %done, label %stay
done:
  ret void
}
""" + "".join(
    f"""
define void @run_{name}(ptr %buffers, ptr %sizes, i64 %extent, i64 %grain) {{
  call void @adjit_parallel_for(ptr @{name}, ptr %buffers, ptr %sizes, i64 %extent, i64 %grain)
  ret void
}}
"""
    for name in NAMES
)
NATIVE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
TESTS = os.path.dirname(__file__)
THREADED = sys.platform.startswith("linux") and host_target().architecture in ("x86_64", "aarch64")
needs_threads = pytest.mark.skipif(not THREADED, reason="the pool of this system is serial")

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@dataclass
class Kernels:
    """The test kernels bound to one parallel_for."""

    library: jit.Library

    def count(self, extent: int, grain: int) -> list[tuple[int, int]]:
        """Count over a fresh array; check it; the pieces in order."""
        x = np.zeros(max(extent, 0) + 1, np.int32)
        log = np.zeros(1 + 2 * 64, np.int64)
        self._run("run_count", (x, log), 0, extent, grain)
        assert (x[: max(extent, 0)] == 1).all()
        assert x[max(extent, 0)] == 0
        return sorted((int(log[2 * k + 1]), int(log[2 * k + 2])) for k in range(log[0]))

    def logistic(self, x: npt.NDArray[np.float64], grain: int) -> None:
        self._run("run_logistic", (x,), 0, x.size, grain)

    def outer(self, rows: int, columns: int) -> npt.NDArray[np.int32]:
        x = np.zeros((rows, columns), np.int32)
        self._run("run_outer", (x,), columns, rows, 1)
        return x

    def meet(self, pieces: int) -> int:
        x = np.zeros(2, np.int64)
        self._run("run_meet", (x,), pieces, pieces, 1)
        return int(x[1])

    def sit(self) -> tuple[int, int]:
        """The cores of two pieces."""
        x = np.zeros(3, np.int64)
        self._run("run_sit", (x,), 2, 2, 1)
        return int(x[1]), int(x[2])

    def lag(self) -> None:
        self._run("run_lag", (np.zeros(1, np.int64),), threading.get_ident(), 2, 1)

    def _run(self, name: str, arrays: tuple[npt.NDArray[np.generic], ...], size: int, extent: int, grain: int) -> None:
        buffers = (ctypes.c_void_p * 2)(*(array.ctypes.data for array in arrays))
        sizes = (ctypes.c_int64 * 1)(size)
        NATIVE(self.library.address(name))(ctypes.addressof(buffers), ctypes.addressof(sizes), extent, grain)


def load_kernels(parallel_for: int) -> Kernels:
    names = [f"run_{name}" for name in NAMES]
    text = KERNELS
    if not THREADED:  # macOS has no such function
        text = text.replace("declare i32 @sched_getcpu()", "define internal i32 @sched_getcpu() { ret i32 0 }")
    return Kernels(jit.compile_library(text, names, imports={pool.PARALLEL_FOR: parallel_for}))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADJIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def kernels(own_cache: None) -> Kernels:
    return load_kernels(pool.parallel_for_address())


@pytest.fixture(autouse=True)
def same_count_afterwards() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


def check_pieces(pieces: list[tuple[int, int]], extent: int, grain: int, threads: int) -> None:
    """`pieces` tile [0, extent), and are as few and as large as promised."""
    edges = [0, *(end for _, end in pieces)]
    assert [begin for begin, _ in pieces] == edges[:-1]
    assert edges[-1] == max(extent, 0)
    assert len(pieces) <= threads
    if len(pieces) > 1:
        assert min(end - begin for begin, end in pieces) >= grain
        assert grain < 64 or all(begin % 64 == 0 for begin, _ in pieces)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_every_element_once(kernels: Kernels, threads: int) -> None:
    set_num_threads(threads)
    for extent in (-3, 0, 1, 2, 3, 5, 63, 64, 65, 127, 128, 129, 1000, 4097, 100_003):
        for grain in (-1, 0, 1, 2, 7, 63, 64, 100, 4096, 2**62, 2**63 - 1):
            check_pieces(kernels.count(extent, grain), extent, grain, threads)


@needs_threads
@pytest.mark.parametrize(
    ("extent", "grain", "threads", "pieces"),
    [
        (10, 1, 2, 2),
        (10, 5, 2, 2),
        (10, 6, 2, 1),
        (10, 1, 4, 4),
        (3, 1, 8, 3),
        (1 << 20, 1 << 14, 5, 5),
        (127, 64, 2, 1),
    ],
)
def test_range_is_cut_evenly(kernels: Kernels, extent: int, grain: int, threads: int, pieces: int) -> None:
    set_num_threads(threads)
    lengths = [end - begin for begin, end in kernels.count(extent, grain)]
    assert len(lengths) == pieces
    assert max(lengths) - min(lengths) <= (1 if grain < 64 else 128)


def test_answers_do_not_depend_on_threads(kernels: Kernels) -> None:
    start = np.random.default_rng(0).random(50_000)
    answers = set()
    for threads in (1, 2, 3, 5, 8):
        set_num_threads(threads)
        x = start.copy()
        kernels.logistic(x, 64)
        answers.add(x.tobytes())
    assert len(answers) == 1


def test_nested_call(kernels: Kernels) -> None:
    set_num_threads(3)
    for rows, columns in ((1, 9), (7, 300), (40, 33)):
        assert (kernels.outer(rows, columns) == 1).all()


def test_callers_in_several_threads(kernels: Kernels) -> None:
    set_num_threads(3)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for extent in np.random.default_rng(seed).integers(1, 20_000, 150):
                kernels.count(int(extent), 1)
        except BaseException as failure:
            failures.append(failure)

    crew = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in crew:
        thread.start()
    for count in (1, 4, 2, 5, 3) * 4:
        set_num_threads(count)
        time.sleep(0.005)
    for thread in crew:
        thread.join()
    assert failures == []


@needs_threads
@pytest.mark.parametrize("rest", [0.0, 0.01])
def test_pieces_run_at_the_same_time(kernels: Kernels, rest: float) -> None:
    """Each piece has a thread of its own, whether the workers spin or sleep (after `rest` seconds) when a job comes."""
    for threads in (2, 3, 4):
        for _ in range(3):
            set_num_threads(threads)
            assert kernels.meet(threads) == threads
            time.sleep(rest)


@needs_threads
def test_woken_workers_sit_on_other_cores_and_may_run_on_all(kernels: Kernels) -> None:
    set_num_threads(2)
    kernels.meet(2)
    before = {task: os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}
    apart = 0
    for _ in range(20):
        time.sleep(0.003)  # longer than threads spin
        first, second = kernels.sit()
        apart += first != second
    assert {task: os.sched_getaffinity(int(task)) for task in before} == before
    assert apart >= 10 or len(os.sched_getaffinity(0)) == 1


@needs_threads
def test_one_core_is_enough(kernels: Kernels) -> None:
    def use() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        set_num_threads(3)
        for _ in range(3):
            assert len(kernels.count(1000, 1)) == 3
            time.sleep(0.003)

    assert in_child(use) == 0


def pieces_after_lag(kernels: Kernels, rest: float = 0.0) -> int:
    """How many pieces a job is cut into that comes `rest` seconds after one whose worker was late."""
    set_num_threads(2)
    kernels.lag()
    time.sleep(rest)
    return len(kernels.count(10, 1))


@needs_threads
def test_caller_runs_alone_after_a_worker_held_it_up(kernels: Kernels) -> None:
    # On a loaded machine this thread may stand still for longer than it would run alone.
    assert any(pieces_after_lag(kernels) == 1 for _ in range(200))
    assert pieces_after_lag(kernels, rest=0.07) == 2


def test_many_small_jobs_in_a_row(kernels: Kernels) -> None:
    set_num_threads(4)
    x = np.zeros(64, np.int32)
    log = np.zeros(129, np.int64)
    buffers = (ctypes.c_void_p * 2)(x.ctypes.data, log.ctypes.data)
    run = NATIVE(kernels.library.address("run_count"))
    for turn in range(1, 10_001):
        log[0] = 0
        run(ctypes.addressof(buffers), None, 64, 1)
        if turn % 1000 == 0:
            assert (x == turn).all()
            time.sleep(0.002)  # long enough for every worker to fall asleep


def native_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@needs_threads
def test_child_after_fork_has_workers_of_its_own(kernels: Kernels) -> None:
    set_num_threads(3)
    kernels.count(1000, 1)

    def use() -> None:
        assert native_threads() == 1
        assert len(kernels.count(1000, 1)) == 3
        assert native_threads() == 3
        assert (kernels.outer(9, 50) == 1).all()

    assert in_child(use) == 0
    assert len(kernels.count(1000, 1)) == 3


@needs_threads
def test_fork_while_another_thread_computes(kernels: Kernels) -> None:
    set_num_threads(3)
    x = np.full(100_000, 0.3)
    with meanwhile(lambda: kernels.logistic(x, 1)):
        ends = [in_child(lambda: kernels.count(1000, 1)) for _ in range(20)]
    assert ends == [0] * 20


@needs_threads
def test_workers_start_at_the_first_job_that_is_cut() -> None:
    program = f"""
import os, sys
sys.path[:0] = [{TESTS!r}]
import test_pool
count = lambda: len(os.listdir('/proc/self/task'))
kernels = test_pool.load_kernels(test_pool.pool.parallel_for_address())
test_pool.set_num_threads(6)
before = count()
kernels.count(1000, 1000)
assert count() == before
kernels.count(1000, 300)  # cut at multiples of 64: two pieces of at least 300
assert count() == before + 1
kernels.count(1000, 1)
assert count() == before + 5
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_interpreter_ends_in_the_middle_of_a_job() -> None:
    program = f"""
import sys, threading, time
sys.path[:0] = [{TESTS!r}]
import numpy, test_pool
kernels = test_pool.load_kernels(test_pool.pool.parallel_for_address())
test_pool.set_num_threads(3)
x = numpy.full(4_000_000, 0.3)
threading.Thread(target=lambda: kernels.logistic(x, 1), daemon=True).start()
time.sleep(0.05)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@needs_threads
def test_workers_leave_signals_to_the_program(kernels: Kernels) -> None:
    set_num_threads(3)
    kernels.count(1000, 1)
    pids = [int(name) for name in os.listdir("/proc/self/task")]
    masks = {}
    for pid in pids:
        with open(f"/proc/self/task/{pid}/status") as status:
            masks[pid] = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    interrupt, fault = 1 << (signal.SIGINT - 1), 1 << (signal.SIGSEGV - 1)
    assert not masks[os.getpid()] & interrupt
    workers = [mask for mask in masks.values() if mask & interrupt]
    assert len(workers) >= 2
    assert not any(mask & fault for mask in workers)
