"""How the threads of the pool sleep, and are woken, on Linux and on macOS."""

from __future__ import annotations

# The numbers of Linux's system calls futex, getpid and gettid.
CALLS = {"x86_64": (202, 39, 186), "aarch64": (98, 172, 178)}
# Workers whose place is seen to before they are woken: that takes each some microseconds.
_PLACED = 8


def waiting_text(system: str, architecture: str) -> str:
    """LLVM text of `sleep_while`, `wake`, `wake_workers`, `note_worker` and `forget_numbers`."""
    if system == "macos":
        return _BY_ULOCK
    text = _BY_FUTEX
    for name, number in zip(("FUTEX_CALL", "GETPID_CALL", "GETTID_CALL"), CALLS[architecture], strict=True):
        text = text.replace(name, str(number))
    return text.replace("PLACED", str(_PLACED))


# Sleep while a word has a value, and wake threads that sleep on it.
_BY_FUTEX = """
declare i64 @syscall(i64, ...)

define internal void @sleep_while(ptr %word, i32 %value) nounwind {
  call i64 (i64, ...) @syscall(i64 FUTEX_CALL, ptr %word, i32 128, i32 %value, ptr null)
  ret void
}

define internal void @wake(ptr %word, i32 %count) nounwind {
  call i64 (i64, ...) @syscall(i64 FUTEX_CALL, ptr %word, i32 129, i32 %count)
  ret void
}

declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)

@process = internal global i32 0, align 4          ; whose threads these are
@numbers = internal global [PLACED x i32] zeroinitializer, align 4  ; the system's, of the first workers

; Note the system's number of the calling thread, a worker.
define internal void @note_worker(i64 %index) nounwind {
  %first = icmp ult i64 %index, PLACED
  br i1 %first, label %note, label %done
note:
  %thread = call i64 (i64, ...) @syscall(i64 GETTID_CALL)
  %number = trunc i64 %thread to i32
  %process = call i64 (i64, ...) @syscall(i64 GETPID_CALL)
  %owner = trunc i64 %process to i32
  store atomic i32 %owner, ptr @process monotonic, align 4
  %place = getelementptr i32, ptr @numbers, i64 %index
  store atomic i32 %number, ptr %place release, align 4
  br label %done
done:
  ret void
}

define internal void @forget_numbers() nounwind {
  store [PLACED x i32] zeroinitializer, ptr @numbers, align 4
  ret void
}

; Wake workers for a job, on other cores than the caller's: the system may put a woken thread on the core of the one
; that wakes it, though another is idle, and leave it there for longer than the job takes.  Where they may run is taken
; from them for that moment alone.
define internal void @wake_workers(ptr %word, i32 %helpers, i32 %workers) nounwind noinline {
entry:
  %allowed = alloca [PLACED x [16 x i64]], align 16   ; the cores of each worker
  %others = alloca [16 x i64], align 16
  %moved = alloca [PLACED x i32], align 16
  store [PLACED x i32] zeroinitializer, ptr %moved, align 16
  %count = zext i32 %workers to i64
  %process = call i64 (i64, ...) @syscall(i64 GETPID_CALL)
  %caller = trunc i64 %process to i32
  %owner = load atomic i32, ptr @process monotonic, align 4
  %own = icmp eq i32 %caller, %owner
  %core = call i32 @sched_getcpu()
  %known = icmp ult i32 %core, 1024
  %few = icmp ule i64 %count, PLACED
  %known_few = and i1 %known, %few
  %placed = and i1 %own, %known_few
  %turns = select i1 %placed, i64 %count, i64 0
  %wide = zext i32 %core to i64
  %where = lshr i64 %wide, 6
  %which = and i64 %wide, 63
  %bit = shl i64 1, %which
  %rest = xor i64 %bit, -1
  br label %look
look:
  %index = phi i64 [ 0, %entry ], [ %following, %next ]
  %more = icmp ult i64 %index, %turns
  br i1 %more, label %read, label %call
read:
  %place = getelementptr i32, ptr @numbers, i64 %index
  %number = load atomic i32, ptr %place acquire, align 4
  %mask = getelementptr [16 x i64], ptr %allowed, i64 %index
  %there = icmp ne i32 %number, 0
  br i1 %there, label %ask, label %next
ask:
  %unknown = call i32 @sched_getaffinity(i32 %number, i64 128, ptr %mask)
  %told = icmp eq i32 %unknown, 0
  br i1 %told, label %move, label %next
move:
  call void @llvm.memcpy.p0.p0.i64(ptr align 16 %others, ptr align 16 %mask, i64 128, i1 false)
  %field = getelementptr i64, ptr %others, i64 %where
  %cores = load i64, ptr %field, align 8
  %left = and i64 %cores, %rest
  store i64 %left, ptr %field, align 8
  %refused = call i32 @sched_setaffinity(i32 %number, i64 128, ptr %others)  ; where there is no other
  %done_so = icmp eq i32 %refused, 0
  %flag = zext i1 %done_so to i32
  %noted = getelementptr i32, ptr %moved, i64 %index
  store i32 %flag, ptr %noted, align 4
  br label %next
next:
  %following = add i64 %index, 1
  br label %look
call:
  call void @wake(ptr %word, i32 %helpers)
  br label %again
again:
  %number_back = phi i64 [ 0, %call ], [ %after, %further ]
  %any = icmp ult i64 %number_back, %turns
  br i1 %any, label %check, label %done
check:
  %noted_back = getelementptr i32, ptr %moved, i64 %number_back
  %was = load i32, ptr %noted_back, align 4
  %was_moved = icmp ne i32 %was, 0
  br i1 %was_moved, label %back, label %further
back:
  %place_back = getelementptr i32, ptr @numbers, i64 %number_back
  %thread = load atomic i32, ptr %place_back monotonic, align 4
  %mask_back = getelementptr [16 x i64], ptr %allowed, i64 %number_back
  %status = call i32 @sched_setaffinity(i32 %thread, i64 128, ptr %mask_back)
  br label %further
further:
  %after = add i64 %number_back, 1
  br label %again
done:
  ret void
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""

# The same by what macOS's own libraries use: UL_COMPARE_AND_WAIT 1, ULF_WAKE_ALL 0x100, ULF_NO_ERRNO 0x1000000.
_BY_ULOCK = """
declare i32 @__ulock_wait(i32, ptr, i64, i32)
declare i32 @__ulock_wake(i32, ptr, i64)

define internal void @sleep_while(ptr %word, i32 %value) nounwind {
  %wide = zext i32 %value to i64
  %woken = call i32 @__ulock_wait(i32 16777217, ptr %word, i64 %wide, i32 0)
  ret void
}

define internal void @wake(ptr %word, i32 %count) nounwind {
  %woken = call i32 @__ulock_wake(i32 16777473, ptr %word, i64 0)
  ret void
}

define internal void @wake_workers(ptr %word, i32 %helpers, i32 %workers) nounwind {
  call void @wake(ptr %word, i32 %helpers)
  ret void
}

define internal void @note_worker(i64 %index) nounwind {
  ret void
}

define internal void @forget_numbers() nounwind {
  ret void
}
"""
