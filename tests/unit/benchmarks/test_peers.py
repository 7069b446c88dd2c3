"""What `benchmarks/throughput.py --peer` gives other trainers, and the lines that it makes of them."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

pytest.importorskip("scipy")
PLACE = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(PLACE))
try:
    import throughput
    from peers.commands import COMMANDS, Job, torchtune_command, trl_command, unsloth_command
    from peers.rows import Rows
    from peers.run import Peer, make_peers
    from peers.setting import read_setting, split_batch
finally:
    sys.path.remove(str(PLACE))

VALUES = {
    "model_name_or_path": "nobody/knows", "finetuning_type": "lora", "lora_rank": 64, "lora_alpha": 128,
    "lora_dropout": 0.1, "lora_target": "all", "cutoff_len": 4096, "learning_rate": 2e-4, "bf16": True,
    "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "seed": 43,
}  # fmt: skip
QWEN = {
    "model_type": "qwen2", "vocab_size": 152064, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": False,
}  # fmt: skip
VERSIONS = {"trl": "0.24.0", "torch": "2.11.0", "transformers": "5.6.0"}


@pytest.fixture
def make_job(tmp_path):
    def make(config=None, versions=VERSIONS, lengths=(186,) * 985, **more):
        model = tmp_path / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text(json.dumps(config or QWEN))
        (model / "model-1.safetensors").touch()
        setting = read_setting({**VALUES, "model_name_or_path": str(model), **more}, 128, updates=4)
        rows = Rows(tmp_path / "rows", lengths)
        return Job(setting, rows, tmp_path, tmp_path / "result.json", versions)

    return make


def options_of(command):
    """--name value pairs, and for a flag what follows."""
    return {word[2:]: command[at + 1] for at, word in enumerate(command) if word.startswith("--")}


def test_a_peer_is_given_what_the_engine_is_given():
    setting = read_setting(VALUES, 128, updates=4)
    assert (setting.rank, setting.alpha, setting.dropout, setting.targets) == (64, 128, 0.1, ("all",))
    assert (setting.rows_per_update, setting.cutoff_tokens, setting.learning_rate) == (128, 4096, 2e-4)
    assert (setting.scheduler, setting.warmup, setting.seed, setting.dtype) == ("cosine", 0.1, 43, "bfloat16")
    assert (setting.updates, setting.on_cpu, setting.model) == (4, False, "nobody/knows")


def test_what_a_recipe_leaves_out_is_the_engines_default():
    setting = read_setting({"model_name_or_path": "m", "lora_rank": 4, "use_cpu": True}, 8, updates=2)
    assert (setting.alpha, setting.dropout, setting.targets, setting.cutoff_tokens) == (8, 0.0, ("all",), 2048)
    assert (setting.dtype, setting.on_cpu, setting.scheduler) == ("float32", True, "linear")


@pytest.mark.parametrize(("more", "said"), [({"finetuning_type": "full"}, "full"), ({"quantization_bit": 4}, "4 bit")])
def test_other_methods_are_refused(more, said):
    with pytest.raises(ValueError, match=said):
        read_setting({**VALUES, **more}, 128, updates=4)


@pytest.mark.parametrize(("rows", "batch"), [(128, (16, 8)), (8, (8, 1)), (24, (12, 2)), (17, (1, 17)), (1, (1, 1))])
def test_the_effective_batch_is_kept_exactly(rows, batch):
    assert split_batch(rows, 16) == batch


def test_trl_gets_its_own_command(make_job):
    job = make_job()
    command = trl_command(job)
    assert command[0].endswith("timed_trainer.py")
    assert command[3] == "trl.scripts.sft"
    assert "--use_peft" in command
    found = options_of(command)
    assert found["lora_target_modules"] == "all-linear"
    assert (found["lora_r"], found["lora_alpha"], found["lora_dropout"]) == ("64", "128", "0.1")
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == ("16", "8")
    assert (found["train_sampling_strategy"], found["use_liger_kernel"]) == ("group_by_length", "true")
    assert (found["max_steps"], found["seed"], found["warmup_steps"]) == ("4", "43", "0.1")
    assert found["dataset_name"] == str(job.rows.folder)
    assert found["completion_only_loss"] == "true"


def test_trl_on_a_cpu_and_on_some_layers(make_job):
    command = trl_command(make_job(bf16=False, use_cpu=True, lora_target="q_proj, v_proj"))
    found = options_of(command)
    assert (found["use_cpu"], found["bf16"], found["dtype"], found["use_liger_kernel"]) == (
        "true", "false", "float32", "false",
    )  # fmt: skip
    at = command.index("--lora_target_modules")
    assert command[at + 1 : at + 3] == ["q_proj", "v_proj"]


def test_names_before_transformers_five(make_job):
    found = options_of(trl_command(make_job(versions={**VERSIONS, "transformers": "4.57.1"})))
    assert (found["group_by_length"], found["warmup_ratio"]) == ("true", "0.1")
    assert not {"train_sampling_strategy", "warmup_steps"} & set(found)
    whole = options_of(trl_command(make_job(versions={**VERSIONS, "transformers": "4.57.1"}, warmup_steps=20)))
    assert whole["warmup_steps"] == "20"


def test_unsloth_is_imported_first_and_decides_on_checkpointing_and_padding(make_job):
    command = unsloth_command(make_job())
    assert command[3:5] == ["--first", "unsloth"]
    written = json.loads(Path(command[-1]).read_text())
    assert written["adapter"]["r"] == 64
    assert written["adapter"]["target_modules"][0] == "q_proj"
    assert len(written["adapter"]["target_modules"]) == 7
    training = written["training"]
    assert (training["per_device_train_batch_size"], training["gradient_accumulation_steps"]) == (16, 8)
    assert not {"padding_free", "gradient_checkpointing", "packing"} & set(training)


def test_torchtune_packs_as_many_tokens_as_the_rows_of_an_update_have(make_job):
    command = torchtune_command(make_job())
    found = yaml.safe_load(Path(command[-1]).read_text())
    # 128 rows of 186 tokens are 11.6 packs of 2048.
    assert (found["batch_size"], found["gradient_accumulation_steps"], found["dataset"]["pack_tokens"]) == (4, 3, 2048)
    assert found["model"]["_component_"] == "torchtune.models.qwen2.lora_qwen2"
    assert found["model"]["lora_attn_modules"] == ["q_proj", "k_proj", "v_proj", "output_proj"]
    assert (found["model"]["apply_lora_to_mlp"], found["model"]["rope_base"]) == (True, 1_000_000)
    assert found["checkpointer"]["checkpoint_files"] == ["model-1.safetensors"]
    assert found["metric_logger"]["updates"] == 4
    assert (found["device"], found["dtype"], found["log_peak_memory_stats"]) == ("cuda", "bf16", True)


@pytest.mark.parametrize(
    ("lengths", "more", "packs"),
    [
        ((3000, 3500) * 64, {}, (3500, 4, 32)),  # no row is longer than a pack, and no two go into one
        ((1000, 1000, 200) * 64, {}, (2048, 4, 16)),  # two rows a pack, not 2.8
        ((186,) * 985, {"cutoff_len": 1024}, (1024, 4, 6)),
        ((10,) * 985, {}, (2048, 1, 1)),
    ],
)
def test_torchtunes_packs(make_job, lengths, more, packs):
    command = torchtune_command(make_job(lengths=lengths, **more))
    found = yaml.safe_load(Path(command[-1]).read_text())
    assert (found["dataset"]["pack_tokens"], found["batch_size"], found["gradient_accumulation_steps"]) == packs


def test_torchtunes_epochs(make_job):
    """Its learning rate falls over epochs times the updates that an epoch is cut to."""
    found = yaml.safe_load(Path(torchtune_command(make_job())[-1]).read_text())
    assert (found["epochs"], found["max_steps_per_epoch"]) == (1, 4)
    short = yaml.safe_load(Path(torchtune_command(make_job(lengths=(186,) * 300))[-1]).read_text())
    assert short["epochs"] == 2
    with pytest.raises(ValueError, match="fewer than"):
        torchtune_command(make_job(lengths=(186,) * 100))


def test_torchtune_reads_what_transformers_five_writes(make_job):
    llama = {**QWEN, "model_type": "llama", "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    del llama["rope_theta"]
    found = yaml.safe_load(Path(torchtune_command(make_job(llama))[-1]).read_text())
    assert (found["model"]["rope_base"], found["checkpointer"]["model_type"]) == (500_000, "LLAMA3")


@pytest.mark.parametrize(
    ("config", "more", "said"),
    [
        ({**QWEN, "model_type": "gemma2"}, {}, "gemma2"),
        ({**QWEN, "model_type": "llama", "tie_word_embeddings": True}, {}, "llama"),
        ({**QWEN, "rope_scaling": {"rope_type": "yarn"}}, {}, "qwen2"),
        (QWEN, {"lora_target": "q_proj,up_proj"}, "all of the MLP or none"),
        (QWEN, {"lora_target": "lm_head"}, "lm_head"),
    ],
)
def test_what_torchtune_cannot_train_is_said(make_job, config, more, said):
    with pytest.raises(ValueError, match=said):
        torchtune_command(make_job(config, **more))


def test_where_peers_live(tmp_path):
    python = tmp_path / "python"
    python.touch()
    site = tmp_path / "site"
    site.mkdir()
    found = make_peers(["trl", "unsloth", "torchtune"], {"unsloth": site, "torchtune": python}, "engine")
    assert found == [Peer("trl", "engine"), Peer("unsloth", "engine", site), Peer("torchtune", str(python))]
    with pytest.raises(ValueError, match="no such file"):
        make_peers(["trl"], {"trl": tmp_path / "gone"})
    with pytest.raises(ValueError, match="no --peer unsloth"):
        make_peers(["trl"], {"unsloth": site})


def test_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv",
        ["throughput.py", "auto=my.yaml", "--peer", "trl", "--peer", "torchtune", "--peer-python", "torchtune=/p"],
    )  # fmt: skip
    options = throughput.parse_options()
    assert (options.peer, options.peer_python, options.peer_updates) == (
        ["trl", "torchtune"], [("torchtune", Path("/p"))], 4,
    )  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["throughput.py", "trl=my.yaml", "--peer", "trl"])
    with pytest.raises(SystemExit):
        throughput.parse_options()
    assert "given twice" in capsys.readouterr().err
    assert sorted(COMMANDS) == ["torchtune", "trl", "unsloth"]


class FakePacks:
    """torchtune's packing as its data set shows it: what fills a pack up is its last row."""

    def __init__(self, rows, *, max_seq_len, padding_idx):
        self.max_seq_len = max_seq_len
        tokens, labels = ([token for row in rows for token in row[key]] for key in ("tokens", "labels"))
        self.packs = [
            self._pad_pack({"tokens": tokens, "labels": labels, "lengths": [len(r["tokens"]) for r in rows]}, 0)
        ]

    def _pad_pack(self, pack, padding_idx):
        missing = self.max_seq_len - len(pack["tokens"])
        return {
            "tokens": pack["tokens"] + [padding_idx] * missing,
            "labels": np.array(pack["labels"] + [-100] * missing),
            "seq_lens": np.array(pack["lengths"] + [missing] * bool(missing)),
        }

    def __getitem__(self, index):
        return self.packs[index]


def test_torchtunes_log_becomes_a_result(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchtune", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchtune.datasets", SimpleNamespace(PackedDataset=FakePacks))
    monkeypatch.syspath_prepend(str(PLACE))
    monkeypatch.syspath_prepend(str(PLACE / "peers" / "inside"))
    parts = importlib.import_module("torchtune_parts")
    ended = []
    monkeypatch.setattr(parts, "finish", lambda file, seen, **facts: ended.append((file, seen, facts)))
    rows = [{"input_ids": [1, 2, 3], "completion_mask": [0, 1, 1]}, {"input_ids": [4, 5], "completion_mask": [0, 1]}]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    packs = parts.token_rows(parts.make_tokenizer(0), file=str(file), pack_tokens=8, packed=True)
    full = parts.token_rows(parts.make_tokenizer(0), file=str(file), pack_tokens=5, packed=True)
    log = parts.ResultLogger(str(tmp_path / "result.json"), updates=2, rows=4)
    assert "is_filled" not in packs[0]
    log.log_dict({"loss": 3.0, "tokens_per_second_per_gpu": 1.5, "peak_memory_alloc": 2.0}, step=1)
    assert not ended
    assert len(full[0]["tokens"]) == 5
    log.log_dict({"loss": 2.0, "tokens_per_second_per_gpu": 6.0, "peak_memory_alloc": 1.0}, step=2)
    [(_, seen, facts)] = ended
    assert seen.updates == [
        {"s": 2.0, "tokens": 5, "supervised_tokens": 3, "tokens_through": 8},
        {"s": 0.5, "tokens": 5, "supervised_tokens": 3, "tokens_through": 5},
    ]
    assert (seen.losses, seen.train_s) == ([(0.5, 3.0), (1.0, 2.0)], 2.5)
    assert facts == {"peak_allocated_bytes": 2 * 2**30, "peak_reserved_bytes": None}


def found(seconds, versions=None):
    return {
        "updates": [{"s": s, "tokens": 100, "supervised_tokens": 40} for s in seconds],
        "losses": [[0.1 * (n + 1), 3.0 - n] for n in range(len(seconds))], "train_s": sum(seconds),
        "peak_allocated_bytes": 2**30, "peak_reserved_bytes": 2**31, "versions": versions or {},
    }  # fmt: skip


def measured(name, seconds, seed, versions=None):
    return throughput.read_ahead(found(seconds, versions), name, seed, {"model_name_or_path": "nobody/knows"}, rows=100)


def test_peers_stand_in_the_same_table():
    runs = []
    for seed in (42, 43):
        runs.append(measured("auto", [5.0, 1.0, 1.0], seed))
        runs.append(measured("trl", [9.0, 4.0, 5.0], seed, VERSIONS))
    summary = throughput.summarise(runs)
    auto, trl = summary["ways"]
    assert (auto["steady_rows_per_s"], trl["steady_rows_per_s"]) == (pytest.approx(10.0), pytest.approx(20 / 9))
    assert trl["steady_updates_s"] == [4.0, 5.0, 4.0, 5.0]
    assert (trl["times_as_fast"], trl["loss"]) == (None, None)
    absent = [{"way": "unsloth", "why": "not installed: pip install unsloth"}]
    failed = [{"way": "torchtune", "why": "failed: it said nothing"}]
    lines = throughput.markdown({**summary, "absent": absent, "failed": failed}).splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert lines[2].endswith("| 1.00 (1.00-1.00) | 10.0 | (compared with this) |")
    assert lines[3].startswith(
        "| trl 0.24.0 (torch 2.11.0, transformers 5.6.0) | 18.0 (18.0-18.0) | - | 17 | 7 | 1.7 | 3 |"
    )
    assert lines[3].endswith("| 1.0000 | 22 (9) | 4.50 (4.00-5.00) | 2.2 | not compared |")
    assert lines[4].startswith("| unsloth | not installed: pip install unsloth | - |")
    assert lines[-1] == "torchtune failed: failed: it said nothing"
