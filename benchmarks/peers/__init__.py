"""Other trainers on the same training as lfwrap's, for `benchmarks/throughput.py --peer NAME`.

    python benchmarks/throughput.py auto="my.yaml lfwrap.speed=auto" --ahead --peer trl --peer unsloth --peer torchtune

A peer gets the first way's model, data, rank, alpha, dropout, targets, learning rate and rows an update; the rest is
its own:

- ``trl``: its SFT command, unmodified (`python -m trl.scripts.sft`), with Liger's kernels and rows grouped by length;
- ``unsloth``: its model and checkpointing in TRL's trainer as it changes that, without padding by its own choice;
- ``torchtune``: its LoRA recipe for one device, unmodified, packs of 2048 tokens, no activation checkpointing.

Rows come to all of them as the token ids and the mask that the engine's own processor makes of them. They run on one
GPU, and end after ``--peer-updates``: the learning rate falls over that many, so losses are no curve to compare.

Where a peer needs other versions than the engine, ``--peer-python NAME=PATH`` names its Python, or a folder that goes
before the other packages. On GPU hosts without network, with the engine's torch 2.11 for CUDA 13 and Python 3.12, both
were installed beside it from wheels and run so:

    pip install --no-index --no-deps --target PEERS torchtune-0.6.1*.whl torchao-0.13.0*.whl unsloth-*.whl …
    HF_HUB_OFFLINE=1 python benchmarks/throughput.py guide="recipes/paper.yaml lfwrap.speed=none …" \
        auto="recipes/paper.yaml …" --ahead --rounds 2 --peer trl --peer unsloth --peer torchtune \
        --peer-python unsloth=PEERS --peer-python torchtune=PEERS --json out.json --markdown out.md

The modules of ``inside`` run in a peer's Python (or the engine's), the others in lfwrap's.
"""
