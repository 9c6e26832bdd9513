"""What runs: the interpreter, executables, threads, caches."""
