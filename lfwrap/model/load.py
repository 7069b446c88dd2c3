"""What is known of a model by its name or folder: its own config, a copy in the cache, or the shipped catalogue."""

from __future__ import annotations

from lfwrap.model.hf_config import find_config, load_config
from lfwrap.model.shapes import ModelFacts, catalog_model


def load_model_facts(name_or_path: str, *, revision: str | None = None) -> ModelFacts | None:
    """What is known of a model, without the network.

    Looks at a local folder's config.json, then into the Hugging Face cache, then into the shipped catalogue. Returns
    None when none of them knows it.

    Args:
        name_or_path: a folder, or a hub id such as ``Qwen/Qwen2.5-7B-Instruct``.
        revision: the hub revision to look for in the cache; by default ``main``.

    Raises:
        PreflightError: there is a config.json, but it can't be read.
    """
    path = find_config(name_or_path, revision=revision)
    known = catalog_model(name_or_path)
    if path is None:
        return known
    return load_config(path, name_or_path, template=known.template if known else None) or known
