"""The native thread pool: one function that runs a kernel's range in pieces on several threads.

    void adjit_parallel_for(fn, buffers, sizes, extent, grain)

runs `fn(buffers, sizes, begin, end)` over [0, extent), cut into at most `threads` contiguous pieces of at least
`grain`.  Where the grain is 64 or more, pieces begin at multiples of 64, so that no two share a vector or, in an
aligned buffer, a cache line.  One piece is a plain call.

How it works.  The caller publishes a job and a ticket (generation, pieces left) in one 64-bit word; caller and
workers take pieces by compare-and-swap on that word until none is left; the caller waits until all are finished.
- A worker reads the job, then takes a piece: the swap succeeds only if the word is unchanged, so the job it read is
  the one it takes from.  (A worker would have to sleep through exactly 2^32 jobs to be deceived.)
- Nobody waits for a worker that has not taken a piece: with no worker, or slow ones, the caller does the work
  itself.  So threads that could not be started, or that a fork took away, cost speed and nothing else.
- One job runs at a time.  A caller that finds the pool taken (another Python thread, or a kernel inside a kernel)
  runs its whole range itself.
- Whoever waits spins for 100 us, then sleeps until a word changes.  The spin gives way to other threads now and then:
  the system may put a worker on the caller's own core, where a stubborn spin would hold up what it waits for.
- On Linux a caller wakes a few workers on other cores than its own: left to itself the system may keep both on one,
  with another idle, for 5 ms and more.
- Where other programs (or another library's spinning threads) take the cores, a worker may stand still in the middle
  of a piece.  A caller that waited for others many times as long as its own pieces took runs alone for 2 ms, then tries
  again, and if that fails soon, for twice as long, 64 ms at most (`adjit_set_threads` ends it).

The text needs nothing of Python: it is as good in an exported library as in this process.
"""

from __future__ import annotations

from adjit.compiler.llvm.objects import Library, cached_object, compile_lock, load, object_key
from adjit.compiler.llvm.pool_waiting import waiting_text
from adjit.compiler.llvm.target import host_target
from adjit.compiler.load import PARALLEL_FOR
from adjit.runtime import threads

SET_THREADS = "adjit_set_threads"
FORGET_WORKERS = "adjit_forget_workers"

SPIN_NANOSECONDS = 100_000
_LATE_NANOSECONDS = 20_000
# How much longer than the caller's the pieces of a job may take for what is in them, by their number.
_UNEVEN = 2
_ALONE_NANOSECONDS = (2_000_000, 64_000_000)
_RECENT = 8
_STACK_BYTES = 8 * 2**20
_CUT_MULTIPLE = 64

# The instruction that spares the core while it spins.
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.isb(i32)", "call void @llvm.aarch64.isb(i32 15)"),
}
# Of Linux and of macOS: CLOCK_MONOTONIC, SIG_SETMASK, PTHREAD_CREATE_DETACHED, SIGBUS.
_NUMBERS = {"linux": (1, 2, 1, 7), "macos": (6, 3, 2, 10)}
# What it does between waits takes some hundred instructions, however well they are chosen: LLVM needs 4 ms, not 35.
_LEVEL = 0
# sigset_t, pthread_attr_t and pthread_t fit these on the libcs of both systems and architectures.
_OPAQUE = "[16 x i64]"

_library: Library | None = None


def parallel_for_address() -> int:
    """The address of `adjit_parallel_for`; the pool is compiled and installed once in a process."""
    global _library
    if _library is None:
        with compile_lock():
            if _library is None:
                target = host_target()
                text = pool_text(target.architecture, target.system)
                code = cached_object(object_key(text, target, _LEVEL, False), lambda: _compiled(text))
                library = load(code, (PARALLEL_FOR, SET_THREADS, FORGET_WORKERS), {})
                threads.install(library.address(SET_THREADS), library.address(FORGET_WORKERS))
                _library = library
    return _library.address(PARALLEL_FOR)


def _compiled(text: str) -> bytes:
    from adjit.compiler.llvm.jit import compile_object

    return compile_object(text, level=_LEVEL)


def pool_text(architecture: str, system: str) -> str:
    """LLVM text of the pool for Linux and macOS; elsewhere of a serial one with the same symbols."""
    architecture = "aarch64" if architecture == "arm64" else architecture
    system = "macos" if system.startswith(("darwin", "macos")) else system
    if system not in _NUMBERS or architecture not in _PAUSE:
        return _SERIAL
    declare_pause, pause = _PAUSE[architecture]
    text = waiting_text(system, architecture) + _THREADED
    clock, set_mask, detached, bus_fault = _NUMBERS[system]
    for name, value in (
        ("PAUSE_OR_SLEEP", _PAUSE_OR_SLEEP),
        ("DECLARE_PAUSE", declare_pause),
        ("PAUSE", pause),
        ("MONOTONIC_CLOCK", clock),
        ("SET_MASK", set_mask),
        ("DETACHED", detached),
        ("BUS_FAULT", bus_fault),
        ("SPIN_LIMIT", SPIN_NANOSECONDS),
        ("LATE_LIMIT", _LATE_NANOSECONDS),
        ("UNEVEN", _UNEVEN),
        ("ALONE_LEAST", _ALONE_NANOSECONDS[0]),
        ("ALONE_MOST", _ALONE_NANOSECONDS[1]),
        ("RECENT", _RECENT),
        ("STACK_BYTES", _STACK_BYTES),
        ("CUT_LESS_ONE", _CUT_MULTIPLE - 1),
        ("CUT_MULTIPLE", _CUT_MULTIPLE),
        ("OPAQUE", _OPAQUE),
    ):
        text = text.replace(name, str(value))
    return text


_SERIAL = """
define void @adjit_parallel_for(ptr %fn, ptr %buffers, ptr %sizes, i64 %extent, i64 %grain) nounwind {
  %any = icmp sgt i64 %extent, 0
  br i1 %any, label %run, label %done
run:
  call void %fn(ptr %buffers, ptr %sizes, i64 0, i64 %extent)
  br label %done
done:
  ret void
}

define void @adjit_set_threads(i32 %threads) nounwind {
  ret void
}

define void @adjit_forget_workers() nounwind {
  ret void
}
"""

# What a loop does that looked in vain: look again, after 64 times the clock, and sleep when it has spun long enough.
_PAUSE_OR_SLEEP = """pause:
  PAUSE
  %turns = add i32 %turn, 1
  %long = icmp uge i32 %turns, 64
  br i1 %long, label %clock, label %look
clock:
  %yielded = call i32 @sched_yield()
  %time_now = call i64 @now(ptr %time)
  %first = icmp eq i64 %start, 0
  %since = select i1 %first, i64 %time_now, i64 %start
  %spent = sub i64 %time_now, %since
  %enough = icmp ugt i64 %spent, SPIN_LIMIT
  br i1 %enough, label %sleep, label %look"""

# Each word that several threads write has a pair of cache lines to itself (x86 fetches lines in pairs).
_THREADED = """
@ticket = internal global i64 0, align 128   ; generation << 32 | pieces not yet taken
@pending = internal global i32 0, align 128  ; pieces not yet finished
@sleepers = internal global i32 0, align 128 ; workers asleep, or about to be
@waiting = internal global i32 0, align 128  ; 1 while the caller sleeps, or is about to
@busy = internal global i32 0, align 128     ; 1 while a job runs
@threads = internal global i32 1, align 128  ; how many threads a job may use
@workers = internal global i32 0, align 4    ; how many workers were started; guarded by busy
@alone_until = internal global i64 0, align 8 ; the time from which jobs are shared again
@alone_for = internal global i64 0, align 8  ; for how long they were not; guarded by busy
@job = internal global { ptr, ptr, ptr, i64, i64, i64 } zeroinitializer, align 128 ; fn buffers sizes extent pieces mask

declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_destroy(ptr)
declare i32 @pthread_attr_setdetachstate(ptr, i32)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @sigdelset(ptr, i32)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
DECLARE_PAUSE

define void @adjit_set_threads(i32 %count) nounwind {
  store atomic i32 %count, ptr @threads monotonic, align 4
  store atomic i64 0, ptr @alone_until monotonic, align 8
  ret void
}

; In a child after fork: no job runs and no worker exists.
define void @adjit_forget_workers() nounwind {
  %old = load atomic i64, ptr @ticket monotonic, align 8
  %idle = and i64 %old, -4294967296
  store atomic i64 %idle, ptr @ticket monotonic, align 8
  store atomic i32 0, ptr @pending monotonic, align 4
  store atomic i32 0, ptr @sleepers monotonic, align 4
  store atomic i32 0, ptr @waiting monotonic, align 4
  store i32 0, ptr @workers, align 4
  call void @forget_numbers()
  store atomic i32 0, ptr @busy seq_cst, align 4
  ret void
}

define void @adjit_parallel_for(ptr %fn, ptr %buffers, ptr %sizes, i64 %extent, i64 %grain) nounwind {
entry:
  %time = alloca { i64, i64 }, align 8
  %any = icmp sgt i64 %extent, 0
  br i1 %any, label %count, label %done
count:
  %threads = load atomic i32, ptr @threads monotonic, align 4
  %several = icmp sgt i32 %threads, 1
  br i1 %several, label %cut, label %serial
cut:
  %least = call i64 @llvm.smax.i64(i64 %grain, i64 1)
  %coarse = icmp sge i64 %least, CUT_MULTIPLE
  %mask = select i1 %coarse, i64 CUT_LESS_ONE, i64 0
  %safe = add i64 %least, %mask
  %fit = udiv i64 %extent, %safe
  %limit = zext i32 %threads to i64
  %pieces = call i64 @llvm.umin.i64(i64 %fit, i64 %limit)
  %worth = icmp ugt i64 %pieces, 1
  br i1 %worth, label %try, label %serial
try:
  %lock = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %ours = extractvalue { i32, i1 } %lock, 1
  br i1 %ours, label %consider, label %serial
serial:
  call void %fn(ptr %buffers, ptr %sizes, i64 0, i64 %extent)
  br label %done
consider:
  %begin = call i64 @now(ptr %time)
  %until = load atomic i64, ptr @alone_until monotonic, align 8
  %crowded = icmp slt i64 %begin, %until
  br i1 %crowded, label %alone, label %publish
alone:
  store atomic i32 0, ptr @busy release, align 4
  br label %serial
publish:
  %parts = trunc i64 %pieces to i32
  %helpers = sub i32 %parts, 1
  %started = load i32, ptr @workers, align 4
  %few = icmp ult i32 %started, %helpers
  br i1 %few, label %start, label %fill
start:
  call void @start_workers(i32 %helpers)
  br label %fill
fill:
  store atomic ptr %fn, ptr @job monotonic, align 8
  store atomic ptr %buffers, ptr getelementptr (i8, ptr @job, i64 8) monotonic, align 8
  store atomic ptr %sizes, ptr getelementptr (i8, ptr @job, i64 16) monotonic, align 8
  store atomic i64 %extent, ptr getelementptr (i8, ptr @job, i64 24) monotonic, align 8
  store atomic i64 %pieces, ptr getelementptr (i8, ptr @job, i64 32) monotonic, align 8
  store atomic i64 %mask, ptr getelementptr (i8, ptr @job, i64 40) monotonic, align 8
  store atomic i32 %parts, ptr @pending monotonic, align 4
  %old = load atomic i64, ptr @ticket monotonic, align 8
  %next = add i64 %old, 4294967296
  %new = or i64 %next, %pieces
  store atomic i64 %new, ptr @ticket seq_cst, align 8
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %wake = icmp ne i32 %asleep, 0
  br i1 %wake, label %call, label %share
call:
  %ready = load i32, ptr @workers, align 4
  call void @wake_workers(ptr getelementptr (i8, ptr @ticket, i64 4), i32 %helpers, i32 %ready)
  br label %share
share:
  call void @take_pieces()
  %open = load atomic i32, ptr @pending acquire, align 4
  %finished = icmp eq i32 %open, 0
  br i1 %finished, label %leave, label %wait
wait:
  %middle = call i64 @now(ptr %time)
  call void @wait_until_finished()
  %end = call i64 @now(ptr %time)
  %own = sub i64 %middle, %begin
  %late = sub i64 %end, %middle
  %uneven = mul i64 %own, UNEVEN
  %bearable = mul i64 %uneven, %pieces
  %allowed = add i64 %bearable, LATE_LIMIT
  %unhelped = icmp sgt i64 %late, %allowed
  br i1 %unhelped, label %withdraw, label %leave
withdraw:
  call void @withdraw(i64 %end)
  br label %leave
leave:
  store atomic i32 0, ptr @busy release, align 4
  br label %done
done:
  ret void
}

; Run alone for a while: twice as long as the last time if that ended a short while ago.
define internal void @withdraw(i64 %now) nounwind noinline {
  %until = load atomic i64, ptr @alone_until monotonic, align 8
  %last = load i64, ptr @alone_for, align 8
  %recent = mul i64 %last, RECENT
  %watched = add i64 %until, %recent
  %again = icmp slt i64 %now, %watched
  %twice = shl i64 %last, 1
  %longer = call i64 @llvm.umin.i64(i64 %twice, i64 ALONE_MOST)
  %for = select i1 %again, i64 %longer, i64 ALONE_LEAST
  %next = add i64 %now, %for
  store i64 %for, ptr @alone_for, align 8
  store atomic i64 %next, ptr @alone_until monotonic, align 8
  ret void
}

; Take pieces of the published job and run them, until none is left to take.
define internal void @take_pieces() nounwind {
entry:
  br label %look
look:
  %seen = load atomic i64, ptr @ticket acquire, align 8
  %left = and i64 %seen, 4294967295
  %none = icmp eq i64 %left, 0
  br i1 %none, label %done, label %read
read:
  %fn = load atomic ptr, ptr @job monotonic, align 8
  %buffers = load atomic ptr, ptr getelementptr (i8, ptr @job, i64 8) monotonic, align 8
  %sizes = load atomic ptr, ptr getelementptr (i8, ptr @job, i64 16) monotonic, align 8
  %extent = load atomic i64, ptr getelementptr (i8, ptr @job, i64 24) monotonic, align 8
  %pieces = load atomic i64, ptr getelementptr (i8, ptr @job, i64 32) monotonic, align 8
  %mask = load atomic i64, ptr getelementptr (i8, ptr @job, i64 40) monotonic, align 8
  %less = sub i64 %seen, 1
  %swap = cmpxchg ptr @ticket, i64 %seen, i64 %less acq_rel monotonic
  %ours = extractvalue { i64, i1 } %swap, 1
  br i1 %ours, label %run, label %look
run:
  %piece = sub i64 %left, 1
  %begin = call i64 @boundary(i64 %piece, i64 %extent, i64 %pieces, i64 %mask)
  %end = call i64 @boundary(i64 %left, i64 %extent, i64 %pieces, i64 %mask)
  call void %fn(ptr %buffers, ptr %sizes, i64 %begin, i64 %end)
  %before = atomicrmw sub ptr @pending, i32 1 seq_cst
  %last = icmp eq i32 %before, 1
  br i1 %last, label %tell, label %look
tell:
  %caller = load atomic i32, ptr @waiting seq_cst, align 4
  %sleeps = icmp ne i32 %caller, 0
  br i1 %sleeps, label %wake, label %look
wake:
  call void @wake(ptr @pending, i32 1)
  br label %look
done:
  ret void
}

; Where piece `index` begins: near index * extent / pieces.
define internal i64 @boundary(i64 %index, i64 %extent, i64 %pieces, i64 %mask) nounwind alwaysinline {
  %share = udiv i64 %extent, %pieces
  %rest = urem i64 %extent, %pieces
  %whole = mul i64 %index, %share
  %extra = call i64 @llvm.umin.i64(i64 %index, i64 %rest)
  %exact = add i64 %whole, %extra
  %keep = xor i64 %mask, -1
  %rounded = and i64 %exact, %keep
  %last = icmp eq i64 %index, %pieces
  %at = select i1 %last, i64 %extent, i64 %rounded
  ret i64 %at
}

define internal void @wait_until_finished() nounwind {
entry:
  %time = alloca { i64, i64 }, align 8
  br label %fresh
fresh:
  br label %look
look:
  %turn = phi i32 [ 0, %fresh ], [ %turns, %pause ], [ 0, %clock ]
  %start = phi i64 [ 0, %fresh ], [ %start, %pause ], [ %since, %clock ]
  %open = load atomic i32, ptr @pending acquire, align 4
  %finished = icmp eq i32 %open, 0
  br i1 %finished, label %done, label %pause
PAUSE_OR_SLEEP
sleep:
  store atomic i32 1, ptr @waiting seq_cst, align 4
  %still = load atomic i32, ptr @pending seq_cst, align 4
  %needed = icmp ne i32 %still, 0
  br i1 %needed, label %block, label %awake
block:
  call void @sleep_while(ptr @pending, i32 %still)
  br label %awake
awake:
  store atomic i32 0, ptr @waiting seq_cst, align 4
  br label %fresh
done:
  ret void
}

; A worker thread: take pieces, spin for the next job, sleep when it does not come.
define internal ptr @worker(ptr %which) nounwind {
entry:
  %time = alloca { i64, i64 }, align 8
  %index = ptrtoint ptr %which to i64
  call void @note_worker(i64 %index)
  br label %work
work:
  call void @take_pieces()
  br label %look
look:
  %turn = phi i32 [ 0, %work ], [ %turns, %pause ], [ 0, %clock ]
  %start = phi i64 [ 0, %work ], [ %start, %pause ], [ %since, %clock ]
  %seen = load atomic i64, ptr @ticket monotonic, align 8
  %left = and i64 %seen, 4294967295
  %new = icmp ne i64 %left, 0
  br i1 %new, label %work, label %pause
PAUSE_OR_SLEEP
sleep:
  %was = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %ticket = load atomic i64, ptr @ticket seq_cst, align 8
  %more = and i64 %ticket, 4294967295
  %free = icmp eq i64 %more, 0
  br i1 %free, label %block, label %awake
block:
  %shifted = lshr i64 %ticket, 32
  %generation = trunc i64 %shifted to i32
  %word = getelementptr i8, ptr @ticket, i64 4
  call void @sleep_while(ptr %word, i32 %generation)
  br label %awake
awake:
  %is = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %work
}

; Nanoseconds of the monotonic clock.
define internal i64 @now(ptr %time) nounwind {
  %status = call i32 @clock_gettime(i32 MONOTONIC_CLOCK, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %field = getelementptr i8, ptr %time, i64 8
  %rest = load i64, ptr %field, align 8
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %rest
  ret i64 %sum
}

; Start workers until there are `wanted`, or the system refuses.  They take no signal but those of their own faults
; (SIGILL 4, SIGBUS, SIGFPE 8, SIGSEGV 11), so that handlers run on the program's own threads.
define internal void @start_workers(i32 %wanted) nounwind noinline {
entry:
  %signals = alloca OPAQUE, align 16
  %usual = alloca OPAQUE, align 16
  %attributes = alloca OPAQUE, align 16
  %thread = alloca i64, align 8
  %r0 = call i32 @sigfillset(ptr %signals)
  %r1 = call i32 @sigdelset(ptr %signals, i32 4)
  %r2 = call i32 @sigdelset(ptr %signals, i32 BUS_FAULT)
  %r3 = call i32 @sigdelset(ptr %signals, i32 8)
  %r4 = call i32 @sigdelset(ptr %signals, i32 11)
  %r5 = call i32 @pthread_sigmask(i32 SET_MASK, ptr %signals, ptr %usual)
  %r6 = call i32 @pthread_attr_init(ptr %attributes)
  %r7 = call i32 @pthread_attr_setdetachstate(ptr %attributes, i32 DETACHED)
  %r8 = call i32 @pthread_attr_setstacksize(ptr %attributes, i64 STACK_BYTES)
  br label %look
look:
  %have = load i32, ptr @workers, align 4
  %few = icmp ult i32 %have, %wanted
  br i1 %few, label %start, label %done
start:
  %index = zext i32 %have to i64
  %which = inttoptr i64 %index to ptr
  %refused = call i32 @pthread_create(ptr %thread, ptr %attributes, ptr @worker, ptr %which)
  %good = icmp eq i32 %refused, 0
  br i1 %good, label %count, label %done
count:
  %more = add i32 %have, 1
  store i32 %more, ptr @workers, align 4
  br label %look
done:
  %r9 = call i32 @pthread_attr_destroy(ptr %attributes)
  %r10 = call i32 @pthread_sigmask(i32 SET_MASK, ptr %usual, ptr null)
  ret void
}
"""
