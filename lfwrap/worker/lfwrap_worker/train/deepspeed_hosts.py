"""DeepSpeed's launcher for the hosts of a hostfile, which takes lfwrap's variables along to them.

By itself it passes on few variables (``PYTHON…``, ``NCCL…``); the rest of what lfwrap adds would be lost on the way.
"""

from deepspeed.launcher import runner

from lfwrap_worker.contract import VARIABLE_PREFIX

ADDED = (
    VARIABLE_PREFIX,
    "OMP_",
    "TOKENIZERS_",
    "DISABLE_VERSION_CHECK",
    "PYTORCH_",
    "TORCH_",
    "CUDA_DEVICE_ORDER",
    "HF_HOME",
)


def main() -> None:
    """Start the processes of all hosts."""
    runner.EXPORT_ENVS += ADDED
    runner.main()
