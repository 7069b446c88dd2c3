"""Upload a folder to a model hub: a worker.

Reads one JSON object from stdin: ``{"op": "check", "repository", "private", "replace"}`` asks whose token this is and
whether the repository may be written to; ``{"op": "push", "repository", "private", "folder"}`` uploads. Writes one JSON
line. huggingface_hub finds the token; it is masked in what that says.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from lfwrap_worker.channel import failure, read_requests, take_stdout
from lfwrap_worker.contract import EVENT_DONE, OP_CHECK, PushJob

_OWN_FILES = {".gitattributes"}
_NOTE = "export.json"  # names folders of this machine; the model card says what matters of it


def check(job: PushJob) -> dict[str, Any]:
    """Whether the upload could work; ``refused`` says why not."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if not get_token():
        return {"refused": "no token"}
    api = HfApi()
    try:
        user = api.whoami()["name"]
        found = api.model_info(job["repository"])
    except RepositoryNotFoundError:
        return {"user": user}
    except HfHubHTTPError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    if job["private"] and not found.private:
        return {"refused": f"{job['repository']} is public (--public says that this one may be)"}
    files = {sibling.rfilename for sibling in found.siblings or ()} - _OWN_FILES
    if files and not job["replace"]:
        return {"refused": f"{job['repository']} holds {len(files)} files (--force replaces them)"}
    return {"user": user}


def push(job: PushJob) -> dict[str, Any]:
    """Make the repository where there is none, and upload everything as one commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(job["repository"], private=job["private"], exist_ok=True)
    commit = api.upload_folder(
        repo_id=job["repository"],
        folder_path=job["folder"],
        commit_message="Upload with lfwrap",
        delete_patterns=["*"],
        ignore_patterns=[_NOTE],
    )
    return {"url": commit.commit_url}


def main() -> int:
    """Run the job that is described on standard input."""
    channel = take_stdout()
    try:
        from huggingface_hub import get_token

        job: PushJob = next(read_requests(sys.stdin))
        event = {"event": EVENT_DONE, **(check(job) if job["op"] == OP_CHECK else push(job))}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        event = failure(error)
    text = json.dumps(event, ensure_ascii=False)
    token = get_token()
    with channel:
        channel.write((text.replace(token, "***") if token else text) + "\n")
    return 0
