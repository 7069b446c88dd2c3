"""Scripts that run inside the engine's own process.

They import the engine and the standard library, nothing of lfwrap: the engine may live in another Python.
"""
