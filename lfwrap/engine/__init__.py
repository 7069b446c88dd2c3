"""What LLaMA-Factory is, takes and writes, without importing it; how its processes are started, ended and diagnosed.

Other packages may import:

- `locate`, `versions`, `compat`: where the engine is, its versions, and what was found to work.
- `keys`, `facts`, `chat_templates`, `model_template`: what it takes.
- `environment`, `arguments`, `contract`: what its processes are given, and what workers say.
- `worker_process`, `commands`, `server_process`, `child_process`: how they are started and ended.
- `failure`, `diagnose`, `faults`: why one failed.
"""
