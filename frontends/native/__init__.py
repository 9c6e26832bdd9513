"""Native calls: eager operations and compiled functions whose whole call is machine code.

`entry` binds the native entry to this process's objects, `signature` describes a kind of call to it, `operation` serves
eager operations, `install` puts them on `Tensor`.  Whatever a signature does not fit exactly is served by Python.
"""
