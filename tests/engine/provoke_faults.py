"""Provoke real faults of torch, the hub's library and the engine; print each one's traceback as JSON: fault → text."""

import datetime as dt
import json
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def use_a_gpu() -> None:
    import torch

    torch.zeros(1).cuda()


def load_kernels_that_are_not_there() -> None:
    import ctypes

    ctypes.CDLL("libcudart.so.99")


def wait_for_a_peer_that_is_late() -> None:
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        peer = os.fork()
        try:
            import torch
            from torch import distributed

            patience = dt.timedelta(seconds=2)
            distributed.init_process_group(
                "gloo", init_method=meeting, rank=int(not peer), world_size=2, timeout=patience
            )
            if not peer:
                time.sleep(5)
                os._exit(0)
            distributed.all_reduce(torch.zeros(1))
        finally:
            if not peer:
                os._exit(1)
            os.kill(peer, signal.SIGKILL)
            os.waitpid(peer, 0)


def miss_a_peer_at_the_meeting() -> None:
    from torch import distributed

    store = distributed.HashStore()
    distributed.ProcessGroupGloo(store, 0, 2, dt.timedelta(seconds=1))


def ask_for_a_gated_model() -> None:
    import httpx
    from huggingface_hub.utils import hf_raise_for_status

    request = httpx.Request("GET", "https://huggingface.co/owner/name/resolve/main/config.json")
    headers = {"X-Error-Code": "GatedRepo", "X-Request-Id": "1"}
    hf_raise_for_status(httpx.Response(403, headers=headers, request=request))


def load_a_model_offline() -> None:
    from transformers import AutoConfig

    AutoConfig.from_pretrained("owner/name-that-is-in-no-cache")


def render_turns_that_a_template_refuses() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = "{{ raise_exception('Conversation roles must alternate user/assistant') }}"
    render_jinja_template([[{"role": "user", "content": "a"}]], chat_template=template)


def name_an_unknown_template() -> None:
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    get_template_and_fix_tokenizer(None, DataArguments(template="qwenn"))  # type: ignore[arg-type]


def read_broken_json() -> None:
    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        path.write_text('[{"instruction": "a"', encoding="utf-8")
        load_dataset("json", data_files=str(path), cache_dir=folder)


def allocate_more_than_there_is() -> None:
    import torch

    torch.empty(1 << 50)


def write_on_a_full_disk() -> None:
    import torch

    torch.save(torch.zeros(1 << 20), "/dev/full")


FAULTS: dict[str, Callable[[], None]] = {
    "late": wait_for_a_peer_that_is_late,  # forks: before any other loads torch
    "peer": miss_a_peer_at_the_meeting,
    "gpu": use_a_gpu,
    "library": load_kernels_that_are_not_there,
    "gated": ask_for_a_gated_model,
    "offline": load_a_model_offline,
    "turns": render_turns_that_a_template_refuses,
    "template": name_an_unknown_template,
    "json": read_broken_json,
    "memory": allocate_more_than_there_is,
    "disk": write_on_a_full_disk,
}


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # gloo and the engine print on stdout
    found = {}
    for name, provoke in FAULTS.items():
        try:
            provoke()
        except Exception:  # noqa: BLE001 - whatever it is, it is the result
            found[name] = traceback.format_exc()
    with channel:
        json.dump(found, channel)


if __name__ == "__main__":
    main()
