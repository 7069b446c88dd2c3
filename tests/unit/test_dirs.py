"""Where lfwrap's and Hugging Face's folders lie, by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap import dirs

HOME = Path.home()


@pytest.mark.parametrize(
    ("folder", "environ", "expected"),
    [
        ("cache_dir", {}, HOME / ".cache/lfwrap"),
        ("cache_dir", {"LFWRAP_CACHE": "", "XDG_CACHE_HOME": ""}, HOME / ".cache/lfwrap"),
        ("cache_dir", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/lfwrap"),
        ("cache_dir", {"LFWRAP_CACHE": "/big/cache", "XDG_CACHE_HOME": "/xdg"}, "/big/cache"),
        ("cache_dir", {"LFWRAP_CACHE": "~/big"}, HOME / "big"),
        ("row_lengths_dir", {"LFWRAP_CACHE": "/big"}, "/big/row-lengths"),
        ("state_dir", {}, HOME / ".local/state/lfwrap"),
        ("state_dir", {"XDG_STATE_HOME": ""}, HOME / ".local/state/lfwrap"),
        ("state_dir", {"XDG_STATE_HOME": "~/state"}, HOME / "state/lfwrap"),
        ("locks_dir", {"XDG_STATE_HOME": "/state"}, "/state/lfwrap/locks"),
        ("hf_home", {}, HOME / ".cache/huggingface"),
        ("hf_home", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface"),
        ("hf_home", {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/xdg"}, HOME / "hf"),
        ("hub_cache", {"HF_HOME": "/hf"}, "/hf/hub"),
        ("hub_cache", {"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ("hub_cache", {"HF_HUB_CACHE": "~/hub", "HUGGINGFACE_HUB_CACHE": "/old"}, HOME / "hub"),
        ("hub_token_file", {"HF_HOME": "/hf"}, "/hf/token"),
        ("hub_token_file", {"HF_HOME": "/hf", "HF_TOKEN_PATH": "~/token"}, HOME / "token"),
    ],
)
def test_where_a_folder_is(folder, environ, expected):
    assert getattr(dirs, folder)(environ) == Path(expected)
