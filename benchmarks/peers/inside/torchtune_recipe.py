"""Run torchtune's own LoRA recipe for one device: torchtune_recipe.py --config FILE.

What `tune run lora_finetune_single_device` does, without the packages that other commands of `tune` import.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run it as a script, as `tune` does."""
    import torchtune  # type: ignore[import-not-found]

    recipe = Path(torchtune.__file__).parent.parent / "recipes" / "lora_finetune_single_device.py"
    sys.argv[0] = str(recipe)
    runpy.run_path(str(recipe), run_name="__main__")


if __name__ == "__main__":
    main()
