"""The command line: one module for each command, imported only when it is asked for.

Other packages may import:

- `app`: the command line as a function, for ``python -m lfwrap``.
"""
