"""The folders outside of projects and runs: lfwrap's cache and state, and the Hugging Face hub's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """What can be made again: ``$LFWRAP_CACHE``, else ``$XDG_CACHE_HOME/lfwrap``, else ``~/.cache/lfwrap``."""
    stated = environ.get("LFWRAP_CACHE")
    return Path(stated or Path(environ.get("XDG_CACHE_HOME") or "~/.cache", "lfwrap")).expanduser()


def row_lengths_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The counted lengths of data sets, in the cache."""
    return cache_dir(environ) / "row-lengths"


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """What can't be made again by itself: ``$XDG_STATE_HOME/lfwrap``, else ``~/.local/state/lfwrap``."""
    return Path(environ.get("XDG_STATE_HOME") or "~/.local/state", "lfwrap").expanduser()


def locks_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """What was tried on this machine for recipes whose own folder can't be written to, in the state."""
    return state_dir(environ) / "locks"


def hf_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Hugging Face's own folder: ``$HF_HOME``, else ``$XDG_CACHE_HOME/huggingface``, else ``~/.cache/huggingface``."""
    stated = environ.get("HF_HOME")
    return Path(stated or Path(environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")).expanduser()


def hub_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The copies of the hub's models, as huggingface_hub finds them.

    ``$HF_HUB_CACHE`` or ``$HUGGINGFACE_HUB_CACHE``, else the folder ``hub`` in `hf_home`.
    """
    stated = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(stated).expanduser() if stated else hf_home(environ) / "hub"


def hub_token_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The token that `hf auth login` keeps: ``$HF_TOKEN_PATH``, else the file ``token`` in `hf_home`."""
    stated = environ.get("HF_TOKEN_PATH")
    return Path(stated).expanduser() if stated else hf_home(environ) / "token"
