"""Transient memory: what comes on top of the persistent terms in the phases of a step that may be the widest."""

from __future__ import annotations

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings
from lfwrap.plan.memory.activations import fused_loss_rows, layer_bytes, mask_bytes, square_bytes
from lfwrap.plan.memory.estimate import MEASURED, MEASURED_ON_TWO, NOT_MEASURED, MemoryTerm
from lfwrap.plan.memory.persistent import WEIGHTS_SHARED, gradient_terms, weights_bytes

_FP32 = 4
# As in the DeepSpeed configurations that lfwrap renders.
_ZERO2_BUCKET_ELEMENTS = 500_000_000
_ZERO3_LIVE_ELEMENTS = 1_000_000_000
_ZERO3_GROUP_ELEMENTS = 1_000_000_000
# Fitted on two H200s: bytes that an update needs besides the states, for each number of a process's share.
_UPDATE_BYTES = 6
_AUTOGRAD = "what autograd keeps of each operation"


def transient_terms(model: ModelFacts, settings: TrainSettings) -> dict[str, list[MemoryTerm]]:
    """The phases of a step in which memory may peak: phase → its terms on top of the persistent ones.

    Example:
        The loss over all logits keeps 10 bytes for each: in bf16, in fp32, and the log-probability.

        >>> from lfwrap.plan.sample import sample_model
        >>> phases = transient_terms(sample_model(), TrainSettings("lora", 4, 1024, rank=8))
        >>> list(phases)
        ['layer', 'loss forward', 'loss backward']
        >>> phases["loss forward"][-1].bytes == 10 * 4 * 1024 * 152_064
        True
    """
    phases = {"layer": _layer_phase(model, settings)}
    if settings.liger:
        phases["loss"] = _fused_loss_phase(model, settings)
    else:
        phases["loss forward"] = _logits_phase(model, settings, backward=False)
        phases["loss backward"] = _logits_phase(model, settings, backward=True)
    if not settings.is_lora:
        phases["embedding gradient"] = _embedding_phase(model, settings)
    if settings.eval_batch:
        phases["evaluation"] = [_evaluation_term(model, settings)]
    if settings.is_sharded:
        return _with_shared(model, settings, phases)
    if settings.optimizer == "adamw_torch":
        size = settings.trainable_bytes * settings.trainable_parameters(model)
        formula = f"{settings.trainable_bytes} bytes a trainable number: roots of the second moments"
        holds = "foreach implementation; not yet measured here"
        phases["update"] = [MemoryTerm("update's temporaries", size, formula, "torch.optim.AdamW", holds)]
    return phases


def _with_shared(
    model: ModelFacts, settings: TrainSettings, phases: dict[str, list[MemoryTerm]]
) -> dict[str, list[MemoryTerm]]:
    """The phases with what ZeRO holds in each, and the update of a process's share."""
    shared: dict[str, list[MemoryTerm]] = {}
    for name, terms in phases.items():
        has_gradients = name in {"layer", "embedding gradient"}
        if settings.zero_stage == WEIGHTS_SHARED:
            extra = _gathered_term(model, settings, has_gradients=has_gradients)
        else:
            size = 2 * _ZERO2_BUCKET_ELEMENTS if has_gradients else 0
            extra = MemoryTerm("gradient bucket", size, "reduce_bucket_size × 2 bytes", "DeepSpeed", MEASURED_ON_TWO)
        shared[name] = [*terms, extra]
    elements = settings.trainable_parameters(model) // settings.world_size
    if settings.zero_stage == WEIGHTS_SHARED:
        elements = min(elements, _ZERO3_GROUP_ELEMENTS)
    size = 0 if settings.offload else _UPDATE_BYTES * elements
    formula = f"{_UPDATE_BYTES} bytes a number of its share: fp32 gradients, new weights"
    shared["update"] = [MemoryTerm("update's temporaries", size, formula, "DeepSpeed", MEASURED_ON_TWO)]
    return shared


def _gathered_term(model: ModelFacts, settings: TrainSettings, *, has_gradients: bool) -> MemoryTerm:
    """Weights gathered from the other processes: those of a few layers at a time.

    In the backward pass frozen layers are not released: at the first layer all of them are gathered.
    """
    if settings.is_lora and has_gradients:
        size = settings.weight_bytes * (model.linear_weights + model.expert_parameters)
        formula = "all layers: frozen ones stay gathered in the backward pass"
    else:
        size = min(2 * _ZERO3_LIVE_ELEMENTS, weights_bytes(model, settings))
        formula = "stage3_max_live_parameters × 2 bytes"
    return MemoryTerm("gathered weights", size, formula, "DeepSpeed", MEASURED_ON_TWO)


def _kept_term(model: ModelFacts, settings: TrainSettings) -> MemoryTerm:
    """What the forward pass keeps for the backward pass: the layers' inputs, or all activations."""
    if settings.checkpointing:
        layers = 1 if settings.offload_checkpoints else model.num_layers
        size = layers * settings.tokens * model.hidden_size * settings.residual_bytes
        formula = f"layers × tokens × hidden size × {settings.residual_bytes} bytes"
        return MemoryTerm("kept layer inputs", size, formula, "torch.utils.checkpoint, reentrant")
    saved = layer_bytes(model, settings).saved
    size = model.num_layers * (settings.tokens * saved + square_bytes(model, settings))
    formula = f"layers × tokens × {saved:,} bytes"
    return MemoryTerm(
        "activations", size, formula, "what autograd keeps of each operation", _layer_holds(model, settings)
    )


def _layer_holds(model: ModelFacts, settings: TrainSettings) -> str:
    return NOT_MEASURED if model.is_moe or settings.use_dora or not settings.fused_attention else MEASURED


def _cast_term(settings: TrainSettings, numbers: int) -> MemoryTerm:
    size = 2 * numbers if settings.precision is Precision.MIXED else 0
    return MemoryTerm("16-bit copies of weights", size, "2 bytes a number in use that is cast", "autocast")


def _matrix_numbers(model: ModelFacts, settings: TrainSettings) -> int:
    """Trainable numbers that autocast copies: of matrices only."""
    if settings.is_lora:
        return settings.adapter_parameters(model)
    return model.linear_weights + model.expert_parameters + model.embedding_parameters


def _frozen_copies(model: ModelFacts, settings: TrainSettings) -> int:
    """Frozen numbers of all layers that autocast casts, and whose copies autograd keeps for the backward pass.

    The extension casts those of its layers for each pass. bitsandbytes' layers have a type of their own.
    """
    if not (settings.is_lora and settings.is_recast) or settings.quantization_bit:
        return 0
    own = sum(linear.weights for linear in settings.targets(model)) if settings.fuses_adapters else 0
    return model.linear_weights - model.num_layers * own + model.expert_parameters


def _head_copy(model: ModelFacts, settings: TrainSettings) -> int:
    """Numbers of a frozen output layer that autocast casts."""
    return model.embedding_parameters if settings.is_lora and settings.is_recast else 0


def _mask_term(settings: TrainSettings) -> MemoryTerm:
    formula = "rows × length² entries"
    return MemoryTerm("attention mask", mask_bytes(settings), formula, "neat_packing, or transformers for padding")


def _layer_phase(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """One layer at its widest: the last one of the forward pass, or the first one that is recomputed."""
    layer, tokens = layer_bytes(model, settings), settings.tokens
    widest = max((linear.weights for linear in model.linears), default=0)
    working = tokens * layer.working
    if settings.quantization_bit:
        working = max(working, _quantized_working(model, settings, widest))
    elif settings.is_lora and not settings.casts_inputs and not settings.keeps_dropout:
        working = max(working, _gradients_side_by_side(model, settings))
    if not settings.is_lora:
        working += widest * (settings.compute_bytes + (4 if settings.precision is Precision.MIXED else 0))
    terms = [_kept_term(model, settings), _mask_term(settings)]
    numbers = _matrix_numbers(model, settings) + _frozen_copies(model, settings)
    if settings.checkpointing:
        saved = tokens * layer.saved + square_bytes(model, settings)
        formula = f"tokens × {layer.saved:,} bytes"
        terms.append(MemoryTerm("one layer, recomputed", saved, formula, _AUTOGRAD, _layer_holds(model, settings)))
        numbers = numbers // model.num_layers
    terms.append(_cast_term(settings, numbers))
    formula = "product, casts and results of the widest matrix" + (
        ", its weights restored" if settings.quantization_bit else ""
    )
    source = "PEFT and autocast" if settings.casts_inputs else "torch"
    has_weights = not settings.fused_attention and not model.attention_softcap
    square = 2 * square_bytes(model, settings) if has_weights else 0
    terms.append(MemoryTerm("working memory", working + square, formula, source, _layer_holds(model, settings)))
    if not settings.is_lora and model.tied_embeddings:
        terms.append(_head_gradient_term(model, settings))
    if not gradient_terms(model, settings):
        terms.append(_growing_gradients(model, settings, terms[0].bytes))
    return terms


def _growing_gradients(model: ModelFacts, settings: TrainSettings, kept_bytes: int) -> MemoryTerm:
    """Gradients of an update's only micro-batch: they grow layer by layer, while kept activations are released.

    Both change by the same amount for each layer, so the widest point is at one end: all activations are kept and one
    layer has its gradients; or all layers have them, and the first layer's input is left. An untied output layer has
    its gradient all the time.
    """
    head = 0 if settings.is_lora or model.tied_embeddings else settings.trainable_bytes * model.embedding_parameters
    layers = _layer_gradients(model, settings)
    one = layers // model.num_layers
    size = head + max(one, layers + kept_bytes // model.num_layers - kept_bytes)
    formula = f"{settings.trainable_bytes} bytes a trainable number, as kept activations go"
    return MemoryTerm("gradients", size, formula, "autograd")


def _layer_gradients(model: ModelFacts, settings: TrainSettings) -> int:
    """Bytes of all gradients but the embedding's and the output layer's."""
    if settings.is_lora:
        return settings.trainable_bytes * settings.adapter_parameters(model)
    tables = 1 if model.tied_embeddings else 2
    return settings.trainable_bytes * (settings.trainable_parameters(model) - tables * model.embedding_parameters)


def _quantized_working(model: ModelFacts, settings: TrainSettings, widest: int) -> int:
    """At the MLP's last matrix in the backward pass: its restored weights, or the gradients of base and adapter.

    An adapter with dropout has an input of its own, freed before the base's gradient comes.
    """
    width, hidden = model.intermediate_size, model.hidden_size
    written = settings.compute_bytes + (
        settings.checkpoint_bytes if settings.is_recast else 0
    )  # in its type, then cast
    restored = written * widest + settings.linear_bytes * settings.tokens * (width + hidden)
    return restored if settings.keeps_dropout else max(restored, _gradients_side_by_side(model, settings))


def _gradients_side_by_side(model: ModelFacts, settings: TrainSettings) -> int:
    """The gradients that base and adapter each give to the MLP's product, and the gradient that both come from."""
    return settings.linear_bytes * settings.tokens * (2 * model.intermediate_size + model.hidden_size)


def _head_gradient_term(model: ModelFacts, settings: TrainSettings) -> MemoryTerm:
    size = model.embedding_parameters * settings.trainable_bytes
    formula = f"vocabulary × hidden size × {settings.trainable_bytes} bytes"
    return MemoryTerm("output layer's gradient", size, formula, "kept until the tied embedding's gradient joins it")


def _logits_phase(model: ModelFacts, settings: TrainSettings, *, backward: bool) -> list[MemoryTerm]:
    """The loss over all logits at once, in transformers' own code."""
    logits, compute = settings.tokens * model.vocab_size, settings.compute_bytes
    cap = compute if model.logit_softcap else 0
    forward_bytes = 8 if compute == _FP32 else compute + 8  # fp32 logits are not copied
    each = (12 if backward else forward_bytes) + cap
    what = (
        "log-probabilities, their gradient and the logits' gradient in fp32"
        if backward
        else "logits, their fp32 copy and log-probabilities"
    )
    head = 4 * model.hidden_size  # the last norm's fp32 input; trained, also its result and the output layer's input
    if not settings.is_lora:
        head += (settings.residual_bytes + compute) * model.hidden_size
    released = backward and settings.checkpointing
    cached = (0 if settings.is_lora else model.embedding_parameters) if released else _matrix_numbers(model, settings)
    cached += _head_copy(model, settings) + (0 if settings.checkpointing else _frozen_copies(model, settings))
    return [
        _kept_term(model, settings),
        _mask_term(settings),
        _cast_term(settings, cached),
        MemoryTerm("last norm", settings.tokens * head, f"tokens × {head:,} bytes", "transformers"),
        MemoryTerm("logits", logits * each, f"tokens × vocabulary × {each} bytes: {what}", "transformers' loss"),
    ]


def _fused_loss_phase(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """Liger's fused loss: the logits of some tokens at a time, and their gradients at once."""
    rows = fused_loss_rows(model, settings)
    logits = rows * model.vocab_size * settings.compute_bytes
    states = 3 if settings.is_extended else 2  # those of supervised tokens are copied: at most all of them
    kept = states * settings.tokens * model.hidden_size * settings.residual_bytes
    cast = _matrix_numbers(model, settings) + (
        0 if settings.is_lora else model.embedding_parameters
    )  # its transpose, too
    cast += _head_copy(model, settings) + (0 if settings.checkpointing else _frozen_copies(model, settings))
    terms = [
        _kept_term(model, settings),
        _mask_term(settings),
        _cast_term(settings, cast),
        MemoryTerm("last norm", kept, f"{states} × tokens × hidden size: its input, and the gradient", "liger-kernel"),
        MemoryTerm("logits", logits, f"{rows:,} rows × vocabulary × {settings.compute_bytes} bytes", "liger-kernel"),
    ]
    if not settings.is_lora:
        terms.append(_head_gradient_term(model, settings))
    return terms


def _evaluation_term(model: ModelFacts, settings: TrainSettings) -> MemoryTerm:
    """All logits of the rows that are evaluated together: Liger's fused loss is for training only."""
    each = 8 if settings.compute_bytes == _FP32 else settings.compute_bytes + 8
    logits = settings.eval_batch * settings.seq_len_tokens * model.vocab_size
    formula = f"{settings.eval_batch} rows × tokens × vocabulary × {each} bytes"
    return MemoryTerm("logits", logits * each, formula, "transformers' loss", "as going forward in training")


def _embedding_phase(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """The end of the backward pass of full training: dense gradients of embedding and tied output layer."""
    copies = 2 if model.tied_embeddings else 1
    size = copies * model.embedding_parameters * settings.trainable_bytes
    incoming = settings.tokens * model.hidden_size * settings.residual_bytes
    formula = f"{copies} × vocabulary × hidden size × {settings.trainable_bytes} bytes"
    terms = [
        MemoryTerm("embedding gradient", size, formula, "autograd"),
        MemoryTerm("incoming gradient", incoming, "tokens × hidden size", "autograd"),
    ]
    if not gradient_terms(model, settings):
        head = 0 if model.tied_embeddings else settings.trainable_bytes * model.embedding_parameters
        each = f"{settings.trainable_bytes} bytes a trainable number"
        terms.append(MemoryTerm("gradients", _layer_gradients(model, settings) + head, each, "autograd"))
    return terms
