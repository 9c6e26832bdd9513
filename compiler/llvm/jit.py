"""LLVM text -> machine code: objects, loaded libraries, and views of the steps between."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from adjit.compiler.llvm.binding import Linked, Machine, Module, has_address
from adjit.compiler.llvm.objects import Library, cached_object, load, object_key, pack, unpack
from adjit.compiler.llvm.parallel import LEAST_SHARED, Text, divide
from adjit.compiler.llvm.target import Target, host_target
from adjit.compiler.llvm.text import LOOPS
from adjit.compiler.llvm.users import in_use
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen
from adjit.runtime.cache import default_cache
from adjit.runtime.threads import get_num_threads

# Level 1: what makes stack slots registers and tidies up.  Kernels are emitted as vectors with invariants outside
# loops, so the rest of LLVM's pipeline takes several times longer and finds next to nothing.
_SHORT = ("AlwaysInliner", "SROA", "InstCombine", "SimplifyCFG")
_LEAST = ("AlwaysInliner", "SROA")
# For control flow: what follows a branch alone goes on in it, before choices become selects; loops are turned round,
# and the turns of short ones written out several at a time.
_TURNS = (
    *_SHORT[:-1], "JumpThreading", _SHORT[-1], "LoopRotate", "LoopUnroll", "InstCombine", "SimplifyCFG"
)  # fmt: skip

# Objects of functions that programs have in common, by their keys; at most so many, some 10 KB each.
_common: dict[bytes, bytes] = {}
_MOST_COMMON = 500

# Machines for the host by their level, as many as there were threads that compiled at once: LLVM takes a millisecond to
# make one, and to derive from its features what the processor can do.
_spare: dict[tuple[Target, int], list[Machine]] = {}


def compile_library(
    text: str,
    exports: Iterable[str],
    *,
    imports: Mapping[str, int] | None = None,
    target: Target | None = None,
    level: int = 2,
    vectorize: bool = False,
) -> Library:
    """Compile LLVM `text`, or take its object from the disk cache, and load it into this process.

    `imports` gives addresses to names that the text declares; other names are looked up in the process.
    Errors: CompileError if LLVM refuses the text, or a name has no address.
    """
    key, code = object_of(text, target, level, vectorize=vectorize)
    try:
        return load(code, exports, imports or {}, key)
    except CompileError as error:
        missing = _without_address(text, imports or {})
        if missing:
            raise CompileError(f"{error}\n  declared, but without an address: {', '.join(missing)}") from error
        raise


def object_of(
    text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False
) -> tuple[bytes, bytes]:
    """The object of `text`, from the disk cache or compiled, after its key in the cache."""
    target = target or host_target()
    key = object_key(text, target, level, vectorize)
    return key, cached_object(key, lambda: compile_objects(text, target, level, vectorize=vectorize))


def quick_object_of(text: str, target: Target | None = None, *, hot: bool = True) -> tuple[bytes, bytes] | None:
    """The object, after its key, of code that LLVM makes in a fifth of the time.

    It is slower, but in functions marked `hot` if `hot`; results have the same bits as those of the best code.  None
    where the text is one that cannot be divided.
    """
    target, found = target or host_target(), divide(text)
    if found is None:
        return None

    def level_of(name: str) -> int:
        return int(found.is_best(name) or (hot and found.is_hot(name)))

    key = object_key(text, target, "quick" if hot else "quickest", False)
    return key, cached_object(key, lambda: _divided_objects(found, target, level_of))


def compile_object(text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False) -> bytes:
    """Compile LLVM `text` to a relocatable object for `target` (the host, if None).

    `level` is 0 (fewest passes, fastest to compile) to 3.  `vectorize` turns on LLVM's own vectorisers; kernels are
    emitted as vectors, so they are off.
    Errors: CompileError naming the line that LLVM refuses.
    """
    with in_use, _optimised(text, target or host_target(), level, vectorize) as (module, machine):
        return machine.emit(module)


def compile_objects(text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False) -> bytes:
    """`compile_object` by as many threads as kernels may use; several objects are packed as `parallel.pack` does.

    Functions that programs have in common are compiled once, at level 1.
    """
    found = divide(text) if level == 1 and not vectorize and text.count("\n") >= LEAST_SHARED else None
    if found is None:
        return compile_object(text, target, level, vectorize=vectorize)
    return _divided_objects(found, target or host_target(), lambda name: 1)


def _divided_objects(text: Text, target: Target, level_of: Callable[[str], int]) -> bytes:
    """The packed objects of a text's functions, each at its level; common ones that are known are those of level 1."""
    objects, jobs, names = [], [], dict.fromkeys(text.names)
    for name, module in text.shared().items():
        job = _Job(module, 1, object_key(module, target, 1, False))
        code = _known_object(job.key)
        if code is not None:
            objects.append(code)
        elif level_of(name):
            jobs.append(job)
        else:
            continue
        del names[name]
    for level in (1, 0):
        own = [name for name in names if level == level_of(name)]
        jobs += [_Job(module, level) for module in text.deal(own, get_num_threads(), inlined=level > 0)]
    return pack([*objects, *_side_by_side(jobs, target)])


@frozen
class _Job:
    """A module to be compiled; one with a key is kept for other programs."""

    text: str
    level: int
    key: bytes = b""

    @property
    def work(self) -> int:
        return self.text.count("\n") * (4 if self.level else 1)


def _known_object(key: bytes) -> bytes | None:
    """The object of a module that programs have in common, if this process or the disk cache has it."""
    code = _common.get(key)
    if code is None:
        cache = default_cache()
        code = cache.get(key) if cache else None
        if code is not None:
            _keep_object(key, code)
    return code


def _keep_object(key: bytes, code: bytes) -> None:
    if len(_common) >= _MOST_COMMON:
        for each in list(_common)[: len(_common) - _MOST_COMMON + 1]:  # other threads take some out, too
            _common.pop(each, None)
    _common[key] = code


def _side_by_side(jobs: Sequence[_Job], target: Target) -> list[bytes]:
    """The objects of modules, by as many threads as kernels may use."""
    lists: list[list[_Job]] = [[] for _ in range(max(1, min(get_num_threads(), len(jobs))))]
    for job in sorted(jobs, key=lambda job: -job.work):
        min(lists, key=lambda own: sum(job.work for job in own)).append(job)
    found: list[list[bytes] | BaseException] = [[] for _ in lists]

    def work(number: int) -> None:
        try:
            found[number] = [_object_of_job(job, target) for job in lists[number]]
        except BaseException as error:  # raised again below, in the thread that waits
            found[number] = error

    others = [threading.Thread(target=work, args=(number,)) for number in range(1, len(lists))]
    with in_use:
        for thread in others:
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                thread.run()
        work(0)
        for thread in others:
            if thread.ident is not None:
                thread.join()
    codes: list[bytes] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        codes += each
    cache = default_cache()
    for job, code in zip([job for own in lists for job in own], codes, strict=True):
        if job.key:
            _keep_object(job.key, code)
            if cache:
                cache.put(job.key, code)
    return codes


def _object_of_job(job: _Job, target: Target) -> bytes:
    with _optimised(job.text, target, job.level, vectorize=False) as (module, machine):
        return machine.emit(module)


def assembly(text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False) -> str:
    """The assembly that `text` compiles to."""
    with in_use, _optimised(text, target or host_target(), level, vectorize) as (module, machine):
        return machine.emit(module, as_text=True).decode(errors="replace")


def optimized(text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False) -> str:
    """`text` after LLVM's passes."""
    with in_use, _optimised(text, target or host_target(), level, vectorize) as (module, _):
        return str(module)


def load_by_llvm(code: bytes, exports: Sequence[str], imports: Mapping[str, int], key: bytes) -> Library:
    """`objects.load` by LLVM's linker, in an engine of its own.

    One engine per library: a shared one keeps some memory of every library it ever held.
    Errors: CompileError if the object cannot be read, or a name has no address.
    """
    with in_use:
        try:
            linked = Linked(_engine_machine(), unpack(code), imports, exports)
        except RuntimeError as error:
            raise CompileError(f"compiled code cannot be linked: {error}") from error
    return Library(linked, linked.addresses, key)


@functools.cache
def _engine_machine() -> Machine:
    """The machine that engines copy their settings from; without one, each engine detects the host anew."""
    return target_machine(host_target())


def target_machine(target: Target, level: int = 2) -> Machine:
    """A new machine for `target`."""
    return Machine(target.triple, target.cpu, target.features, target.abi, level)


def _without_address(text: str, imports: Mapping[str, int]) -> list[str]:
    """Functions that `text` declares, and that neither `imports` nor the process has."""
    declared = re.findall(r"^declare\b[^@\n]*@([\w.$]+)\(", text, re.MULTILINE)
    unknown = [name for name in declared if not name.startswith("llvm.") and name not in imports]
    return [name for name in unknown if not has_address(name)]


@contextlib.contextmanager
def _optimised(text: str, target: Target, level: int, vectorize: bool) -> Iterator[tuple[Module, Machine]]:
    """The module of `text` after LLVM's passes, and the machine to emit it with."""
    with _machine_for(target, level) as machine:
        module = _parse(text)
        try:
            module.aim(machine)
            _verify(module, text)
            few = _LEAST if level == 0 else _TURNS if LOOPS in text else _SHORT
            module.run(machine, level, few if level < 2 else (), vectorize=vectorize)
            yield module, machine
        finally:
            module.close()


@contextlib.contextmanager
def _machine_for(target: Target, level: int) -> Iterator[Machine]:
    """A machine that no other thread uses; the host's are kept for the next module, unless this one failed."""
    spare = _spare.setdefault((target, level), []) if target is host_target() else []
    try:  # another thread may take the last one between a look and a pop
        machine = spare.pop()
    except IndexError:
        machine = target_machine(target, level)
    fine = False
    try:
        yield machine
        fine = target is host_target()
    finally:
        if fine:
            spare.append(machine)
        else:
            machine.close()


def _parse(text: str) -> Module:
    if "\0" in text:
        raise CompileError("LLVM text has a NUL character")
    try:
        return Module(text)
    except RuntimeError as error:
        raise CompileError(_parse_message(text, str(error))) from error


def _verify(module: Module, text: str) -> None:
    try:
        module.verify()
    except RuntimeError as error:
        raise CompileError(_verify_message(text, str(error))) from error


def _parse_message(text: str, said: str) -> str:
    """LLVM's complaint, then the line of `text` it is about, with a mark under the column."""
    found = re.search(r"<string>:(\d+):(\d+): error: (.*)", said)
    if found is None:
        return f"LLVM text cannot be read: {said}"
    number, column = int(found[1]), int(found[2])
    lines = text.split("\n")
    line = lines[number - 1] if number <= len(lines) else ""
    head = f"  line {number}: "
    return f"LLVM text cannot be read: {found[3]}\n{head}{line}\n{' ' * (len(head) + column - 1)}^"


def _verify_message(text: str, said: str) -> str:
    """LLVM's complaint (which prints the instruction), with the line of `text` that holds the instruction."""
    complaint = said.strip()
    printed = {" ".join(line.split()) for line in complaint.splitlines()[1:]}
    for number, line in enumerate(text.split("\n"), 1):
        if " ".join(line.split()) in printed - {""}:
            return f"LLVM text breaks a rule: {complaint}\n  line {number}: {line}"
    return f"LLVM text breaks a rule: {complaint}"
