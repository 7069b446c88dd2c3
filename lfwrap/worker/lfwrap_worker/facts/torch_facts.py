"""What torch sees on this machine, as one JSON line: a worker.

The package itself is asked for its versions and devices, since its metadata do not say how it was built.
"""

import platform
from typing import Any

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE


def main() -> int:
    """Print the facts; a torch that can't be imported is a fact too."""
    channel = take_stdout()
    facts: dict[str, Any] = {"python": platform.python_version(), "error": None}
    try:
        import torch

        available = torch.cuda.is_available()
        facts |= {
            "torch": torch.__version__,
            "cuda_build": torch.version.cuda,
            "rocm_build": torch.version.hip,
            "cuda_available": available,
            "device_count": torch.cuda.device_count() if available else 0,
            "bf16": bool(available and torch.cuda.is_bf16_supported(including_emulation=False)),
            "mps": torch.backends.mps.is_available(),
        }
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        facts["error"] = f"{type(error).__name__}: {error}"
    with channel:
        write_event(channel, {"event": EVENT_DONE, **facts})
    return 0
