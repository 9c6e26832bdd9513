"""One HTML file for a compiled function: Python, program at each stage, graph, LLVM, assembly, time, all linked.

`links` numbers the spots of the user's program, `documents` makes the texts, `making` the file from page.html, page.css
and the scripts.  The file needs no server and asks for nothing outside itself.
"""
