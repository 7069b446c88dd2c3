"""Run folders as lfwrap 0.1.0 wrote them before the tree was put in order, with their model and data, at a new place.

`golden/run_folders/0.1.0.tar.gz` holds two runs of the recipe ``r.yaml`` in it: one that went through 40 updates, one
that SIGINT stopped after 14. Paths stand in it as ``@PLACE@`` and ``@PYTHON@``; where they are put back, the hash and
size of ``engine.yaml``, which names paths, are corrected in ``inputs.json``.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "golden" / "run_folders" / "0.1.0.tar.gz"
BINARY = {".pt", ".pth", ".bin", ".safetensors"}


def unpack(place: Path) -> Path:
    """Put runs, model and data into a folder; returns the folder of runs."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    for path in place.rglob("*"):
        if path.is_file() and path.suffix not in BINARY:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("@PLACE@", str(place)).replace("@PYTHON@", sys.executable), encoding="utf-8")
    for path in (place / "runs").glob("*/inputs.json"):
        inputs = json.loads(path.read_text(encoding="utf-8"))
        content = (path.parent / "engine.yaml").read_bytes()
        inputs["files"]["engine_yaml"] |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        path.write_text(json.dumps(inputs, indent=2), encoding="utf-8")
    return place / "runs"
