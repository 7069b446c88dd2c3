"""Scripts that run inside the engine's own process: they import the engine and the standard library, nothing of lfwrap."""
