"""The native entry: from a call's Python objects to a kernel and back without Python code.

`known` says where things stand; `operands`, `trees`, `results`, `record`, `serve`, `backward` and `numbers` are word
functions (see compiler/llvm/words.py), compiled as one library by `module`.
A call that no signature fits is left to Python.
"""
