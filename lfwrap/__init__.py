"""lfwrap: data, recipes, training and export for LLaMA-Factory."""

__version__ = "0.1.0"
