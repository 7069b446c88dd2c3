"""What lfwrap and its workers agree on: variables, the files of a rank, the workers' names, requests and events.

The same file twice, as a worker can't import lfwrap: ``lfwrap/engine/contract.py`` and
``lfwrap/worker/lfwrap_worker/contract.py``. A test holds them equal: to change one is to copy it over the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NotRequired, TypedDict

VARIABLE_PREFIX = "LFWRAP_"
"""How the names of all variables begin that lfwrap sets for a training."""
RUN_VARIABLE = "LFWRAP_RUN"
"""The run's folder: the mark by which the processes of a run are found."""
ATTEMPT_VARIABLE = "LFWRAP_ATTEMPT"
"""The attempt's folder, in which each rank leaves its files."""
SHOW_EXAMPLE_VARIABLE = "LFWRAP_SHOW_EXAMPLE"
"""Set where logs keep the training example that the engine prints."""
NO_PROBE_VARIABLE = "LFWRAP_NO_PROBE"
"""Set where the longest batch is not tried early."""
RESTART_VARIABLE = "LFWRAP_RESTART"
"""A `Restart` as JSON, where torchrun may start the processes again."""
SPEED_VARIABLE = "LFWRAP_SPEED"
"""`SPEED_MAX` where the engine trains with lfwrap's extension."""
SPEED_MAX = "max"
COMPILE_VARIABLE = "LFWRAP_COMPILE"
"""`COMPILE_LAYERS` where the decoder layers are compiled one by one."""
COMPILE_LAYERS = "layers"
DEEPSPEED_ON_CPU_VARIABLE = "LFWRAP_DEEPSPEED_ON_CPU"
"""Set where DeepSpeed trains on a CPU, where each process has to join its group beforehand."""
SWANLAB_VARIABLE = "LFWRAP_SWANLAB"
"""Set where a run is reported to SwanLab."""
SET = "1"
"""The value of a variable that is either set or absent."""

RANKS_FOLDER = "ranks"
"""Within an attempt's folder: one folder for each rank, named by its number."""
RANK_STDOUT = "stdout.log"
RANK_STDERR = "stderr.log"
RANK_HEARTBEAT = "heartbeat"
"""Touched whenever the rank gets anywhere."""
RANK_STACKS = "stacks.txt"
"""The Python stacks of all threads, added to on SIGUSR2."""
RANK_ERROR = "error.json"
"""A `RankFailure`; blank while the rank runs, gone when it ended well."""
RANK_PROBE = "probe.json"
"""A `Probe`."""
RANK_MEMORY = "memory.json"
"""A `MemoryUse`."""
RANK_HEALTH = "health.jsonl"
"""A line an entry of the trainer's log; begins anew when it has become long."""

Worker = Literal[
    "answer", "checkpoint", "convert_gguf", "deepspeed_hosts", "encode", "export_files", "gguf_server", "merge_adapter",
    "parity", "push_model", "quantize_gguf", "quantize_gptq", "score", "serve_api", "template_facts", "template_frames",
    "torch_facts", "train_engine", "train_ray", "tune_engine", "validation_split", "weight_changes",
]  # fmt: skip
"""The names by which workers are started."""

EVENT_ERROR: Final = "error"
"""Something went wrong: with a ``message``; after a ``fatal`` one the worker ends."""
EVENT_READY: Final = "ready"
"""What takes its time to start or to load is there."""
EVENT_DONE: Final = "done"
"""The job or the request is done; with whatever it gives."""
EVENT_TOKEN: Final = "token"  # noqa: S105 - of a text
"""A piece of an answer's text."""
EVENT_ANSWER: Final = "answer"
"""An `AnswerEvent`."""
EVENT_ATTACHED: Final = "attached"
"""An adapter was put beside the base."""
EVENT_LOSS: Final = "loss"
"""A `LossEvent`."""
EVENT_PARITY: Final = "parity"
"""A whole comparison."""
EVENT_REQUEST: Final = "request"
"""A server was asked something."""
OP_STREAM: Final = "stream"
OP_BATCH: Final = "batch"
OP_ATTACH: Final = "attach"
OP_LOSSES: Final = "losses"
OP_CHECK: Final = "check"
OP_PUSH: Final = "push"


@dataclass(frozen=True, slots=True)
class Restart:
    """What processes that torchrun starts again keep, in whatever number they come back.

    Attributes:
        micro: the largest micro-batch, in rows.
        effective: rows of an update, of all processes together.
        output: the folder of the checkpoints.
    """

    micro: int
    effective: int
    output: str

    def to_text(self) -> str:
        """As the variable holds it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Restart:
        """From what the variable holds."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How a model generates its answers.

    Attributes:
        max_new_tokens: the longest answer.
        temperature: 0 is greedy: always the likeliest token.
        top_p: sample from the likeliest tokens that together have this probability.
        seed: of the sampling; with the question's id it fixes an answer, whatever else is in the batch.
        top_k: sample from so many of the likeliest tokens; 0 for all.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42
    top_k: int = 0

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)


class RankFailure(TypedDict):
    """Why a rank failed: the time in seconds since 1970, the exception in a line, and with its traceback."""

    time_s: float
    error: str
    text: str


class Probe(TypedDict, total=False):
    """What became of the try with the longest batch: its shape, memory and seconds, or why it was ``skipped``."""

    skipped: str
    shape: list[int]
    peak_bytes: int | None
    duration_s: float


class MemoryUse(TypedDict):
    """What a training took of its GPU until an update; ``update_s`` is the mean of those after the first."""

    update: int
    update_s: float | None
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    outside_bytes: int
    device_bytes: int
    device: str


class LoadRequest(TypedDict):
    """The first request to ``answer`` and ``score``: the engine's keys, adapters by name, another type of the base."""

    arguments: Mapping[str, Any]
    adapters: Mapping[str, str]
    dtype: NotRequired[str]


class Conversation(TypedDict):
    """A question, or a row with its answer; its number comes back with what is said of it."""

    id: int
    messages: Sequence[Mapping[str, str]]
    system: str | None
    tools: str | None


class StreamRequest(Conversation):
    """A question to answer piece by piece, by an adapter or by the base alone."""

    op: Literal["stream"]
    adapter: str | None
    generation: Mapping[str, Any]


class BatchRequest(TypedDict):
    """Questions to answer ``batch_size`` at a time; a batch of which all are ``known`` is left out."""

    op: Literal["batch"]
    adapter: str | None
    generation: Mapping[str, Any]
    batch_size: int
    known: Sequence[int]
    requests: Sequence[Conversation]


class AttachRequest(TypedDict):
    """One more adapter to put beside the base."""

    op: Literal["attach"]
    name: str
    folder: str


class LabelOptions(TypedDict):
    """Which tokens count for a loss, as the engine's keys of the same names say."""

    cutoff_len: int
    train_on_prompt: bool
    mask_history: bool


class LossesRequest(TypedDict):
    """Rows whose losses are asked for, of an adapter or of the base alone."""

    op: Literal["losses"]
    adapter: str | None
    labels: LabelOptions
    rows: Sequence[Conversation]


class AnswerEvent(TypedDict):
    """``answer``: the text to one question; ``finish`` is ``stop``, ``length`` or ``interrupted``."""

    event: Literal["answer"]
    id: int
    text: str
    calls: Sequence[Mapping[str, Any]]
    prompt_tokens: int
    answer_tokens: int
    finish: str
    seconds: float


class LossEvent(TypedDict):
    """``loss``: of one row, the sum over its supervised tokens."""

    event: Literal["loss"]
    id: int
    loss_sum: float
    supervised_tokens: int
    tokens: int
    is_cut: bool


class Side(TypedDict):
    """A model of a comparison: the engine's keys that load it, an adapter, whether it keeps types of its own."""

    arguments: Mapping[str, Any]
    adapter: str | None
    quantized: bool


class ParityJob(TypedDict):
    """The first request to ``parity``; ``dtype`` is the exported type. The second has ``sides``, by name."""

    reference: Side
    questions: Sequence[str]
    max_new_tokens: int
    dtype: str


class ReferenceAnswer(TypedDict):
    """What the reference answered to one question; logarithms and gaps are natural, in logits."""

    question: str
    answer: str
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    text_ends: Sequence[int]
    logprobs: Sequence[float]
    gaps: Sequence[Sequence[Sequence[float]]]
    stopped: bool


class TokenDifference(TypedDict):
    """Where two answers part: the position, both tokens, and by how many logits the reference preferred its own."""

    position: int
    reference_token: str
    exported_token: str
    reference_margin: float


class ParityFigures(TypedDict):
    """How one side answered one question, held against the reference."""

    question: str
    reference_answer: str
    exported_answer: str
    same_prompt: bool
    same_answer: bool
    answer_tokens: int
    mean_abs_logit_difference: float
    max_abs_logit_difference: float
    first_difference: TokenDifference | None
    same_top_tokens: int
    reference_logprob: float
    logprob: float


class MergeJob(TypedDict):
    """The request to ``merge_adapter``: folders, torch's name of a type, bytes of a file, tensors to leave out."""

    base: str
    adapter: str
    out: str
    dtype: str
    shard_bytes: int
    skip: Sequence[str]


class WeightsJob(TypedDict):
    """The request to ``weight_changes``: folders of a result, of the adapter that it began as, of base, checkpoints.

    ``limit_s`` is the time in seconds after which sizes are left out.
    """

    result: str
    is_adapter: bool
    start: str | None
    base: str | None
    checkpoints: Sequence[str]
    limit_s: float


class FilesJob(TypedDict):
    """The request to ``export_files``: the engine's keys, the folder to write, whether a tokenizer is all there is.

    ``after_result`` is that of `ServeJob`.
    """

    arguments: Mapping[str, Any]
    out: str
    text_only: bool
    after_result: tuple[str, str, str] | None


class PushJob(TypedDict):
    """The request to ``push_model``: ``check`` asks whether the repository may be written, ``push`` writes a folder."""

    op: Literal["check", "push"]
    repository: str
    private: bool
    replace: NotRequired[bool]
    folder: NotRequired[str]


class ServeJob(TypedDict):
    """The request to ``serve_api``: the engine's keys, the address, whether each request is reported.

    ``after_result`` says how the template has a user's words right after a tool's result: the engine's role of the one
    turn that holds both, what stands before the result in it, and what between the two; None where it can't.
    """

    arguments: Mapping[str, Any]
    host: str
    port: int
    log_requests: bool
    after_result: tuple[str, str, str] | None


class EncodeJob(TypedDict):
    """The request to ``encode``: data sets of a folder, the template, the tokenizer, and how many rows to render."""

    dataset_dir: str
    names: Sequence[str]
    template: str
    tokenizer: str | None
    cutoff_len: int
    render: int


class SplitJob(TypedDict):
    """The request to ``validation_split``: keys of the engine's `DataArguments`, and the seed of the split."""

    arguments: Mapping[str, Any]
    seed: int


class TrialRequest(TypedDict):
    """A request to ``tune_engine``: one short training.

    ``accumulation`` is the run's own, ``slots`` the micro-batches to time, ``best_epoch_s`` the best estimate so far (0
    for none), ``result`` and ``log`` files.
    """

    values: Mapping[str, Any]
    environment: Mapping[str, str]
    extended: bool
    compiled: bool
    accumulation: int
    slots: int
    best_epoch_s: float
    result: str
    log: str
