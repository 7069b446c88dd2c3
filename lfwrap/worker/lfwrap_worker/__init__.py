"""What runs in the engine's own Python, started by name: see `start`.

These modules import each other, the standard library and the engine with what it depends on; nothing of lfwrap, which
the engine's Python may not have.
"""
