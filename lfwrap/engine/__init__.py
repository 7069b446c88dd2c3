"""What LLaMA-Factory is, takes and writes, without importing it; how its processes are started, ended and diagnosed."""
