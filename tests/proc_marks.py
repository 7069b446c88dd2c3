"""The processes of a run by the kernel's own list, not by the code under test; for tests and scripts without pytest."""

from __future__ import annotations

from pathlib import Path


def marked_in_proc(root: Path) -> list[str]:
    """The command lines of a run folder's processes."""
    mark = f"LFWRAP_RUN={root}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found
