"""Debug information as LLVM metadata: each instruction names the user's file, line and column.

LLVM turns it into DWARF's line table, which gdb, perf and `llvm/listing.py` read.  A function that is always inlined
has none of its own: what is copied from it stands at its call.
"""

from __future__ import annotations

from dataclasses import field

from adjit.ir.frozen import record
from adjit.ir.graph import UNKNOWN, Location

_DWARF = 4  # the newest version whose line table holds the names of files itself
_FIRST = 1000  # metadata of loops and stores has smaller numbers


@record
class DebugInfo:
    """The metadata of one module: numbered nodes, each written once.

    `location` is where code being emitted stands, `owner` the kernel it belongs to; `places` are those of all numbers.
    """

    location: Location = UNKNOWN
    owner: str = ""
    places: dict[int, Location] = field(default_factory=dict)  # by the number in `!dbg !12`
    _nodes: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _files: dict[int, int] = field(default_factory=dict)  # of functions, by the number of the function

    def __post_init__(self) -> None:
        self._number(
            f'distinct !DICompileUnit(language: DW_LANG_Python, file: !{_FIRST + 1}, producer: "adjit", '
            "isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug)"
        )
        self._file(UNKNOWN)

    def function(self, name: str, location: Location) -> int:
        """The number of function `name`, which begins at `location`."""
        file = self._file(location)
        empty = self._number("!{null}")
        type = self._number(f"!DISubroutineType(types: !{empty})")
        number = self._number(
            f'distinct !DISubprogram(name: "{name}", scope: !{file}, file: !{file}, line: {location.line}, '
            f"type: !{type}, scopeLine: {location.line}, spFlags: DISPFlagDefinition | DISPFlagOptimized, "
            f"unit: !{_FIRST})"
        )
        self._files[number] = file
        return number

    def mark(self, function: int, location: Location) -> str:
        """What an instruction of a function ends with to stand at `location`."""
        scope, file = function, self._file(location)
        if location.line and file != self._files[function]:
            scope = self._number(f"!DILexicalBlockFile(scope: !{function}, file: !{file}, discriminator: 0)")
        line = f"line: {location.line}, column: {min(location.column, 0xFFFF)}"
        number = self._number(f"!DILocation({line}, scope: !{scope})")
        self.places.setdefault(number, location)
        return f", !dbg !{number}"

    def __str__(self) -> str:
        lines = [f"!{number} = {text}" for number, text in enumerate(self._nodes, _FIRST)]
        flags, count = f'!{{i32 7, !"Dwarf Version", i32 {_DWARF}}}', _FIRST + len(self._nodes)
        lines += [f"!{count} = {flags}", f'!{count + 1} = !{{i32 2, !"Debug Info Version", i32 3}}']
        lines += [f"!llvm.dbg.cu = !{{!{_FIRST}}}", f"!llvm.module.flags = !{{!{count}, !{count + 1}}}"]
        return "\n".join(lines) + "\n"

    def _file(self, location: Location) -> int:
        path = file_of(location)
        folder, slash, name = path.rpartition("/")
        return self._number(f'!DIFile(filename: "{_quoted(name)}", directory: "{_quoted(folder + slash)}")')

    def _number(self, text: str) -> int:
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = _FIRST + len(self._nodes)
            self._nodes.append(text)
        return found


def file_of(location: Location) -> str:
    """The path by which debug information names a location's file."""
    return (location.path or location.file or "<unknown>").replace("\\", "/")


def _quoted(text: str) -> str:
    """A string of LLVM's text: what is no plain character is written as two hexadecimal digits a byte."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in (34, 92) else f"\\{byte:02X}" for byte in text.encode()
    )
