"""A model as the engine loads it for chatting, with adapters beside it; used by the workers of this folder.

The base model is loaded once, through the engine's own ChatModel: its tokenizer, its training template, its patches.
Adapters are attached, not merged: what answers is what was trained, several can share one base, and the base itself can
answer too. The engine's own chat folds an adapter into the weights, in the type of the base.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from llamafactory.chat import ChatModel
from peft import PeftConfig, PeftModel
from peft.tuners.lora import model as lora_model
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TextStreamer,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lfwrap_worker.contract import GenerationSettings

_MISMATCH = "size mismatch for "  # torch's words
_SEED_STRIDE = 1_000_003  # a prime: questions of one seed do not share the noise of another's
_SEED_BITS = 63
_ALTERING = ("pissa", "olora", "corda", "loftq")  # initialisations that take their part out of the base's weights
_STRETCHING = ("linear", "dynamic", "yarn")  # the others' positions are counted with their stretch already


class Answer(NamedTuple):
    """What was generated: the tokens without the stop token, their text, and whether the model stopped by itself."""

    token_ids: list[int]
    text: str
    stopped: bool


class _TextSink(TextStreamer):  # type: ignore[misc]  # transformers has no types here
    """Hands out text as soon as it can no longer change."""

    def __init__(self, tokenizer: Any, emit: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._emit = emit

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002 - transformers' signature
        """Called by transformers with each new piece."""
        if text:
            self._emit(text)


class _Asked(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
    """Ends the generation as soon as a function says so."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """One flag for each sequence."""
        return torch.full((input_ids.shape[0],), self._asked(), device=input_ids.device, dtype=torch.bool)


class _Noise(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Makes the likeliest token a fair draw: a row's own Gumbel noise on its log-probabilities.

    The likeliest of ``log p + Gumbel`` is distributed as p (Gumbel 1954; Maddison et al. 2014, eq. 2). Each row has a
    generator of its own, so that its answer depends on its seed and not on what else is in the batch.
    """

    def __init__(self, settings: GenerationSettings, seeds: Sequence[int], device: Any) -> None:
        self._warpers = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
        if settings.top_k > 0:
            self._warpers.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(settings.top_p))
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores of the next token, (rows, vocabulary), with noise."""
        warped = self._warpers(input_ids, scores)
        exponential = [
            torch.empty_like(row).exponential_(generator=generator)
            for row, generator in zip(warped, self._generators, strict=True)
        ]
        return warped - torch.stack(exponential).log()


def _describe_misfit(placed: Any) -> str:
    """What peft says had no place in the base, or was missing; empty when all is well."""
    unexpected, missing = placed.unexpected_keys, placed.missing_keys
    if not unexpected and not missing:
        return ""
    example = [*unexpected, *missing][0]
    return f"{len(unexpected)} of its tensors have no place in this one, {len(missing)} are missing, as {example}"


def _alters_base(config: Any) -> bool:
    """Whether an adapter changes the base itself: other weights by its initialisation, biases, or repeated layers."""
    made = getattr(config, "init_lora_weights", None)
    return (
        (isinstance(made, str) and made.startswith(_ALTERING))
        or getattr(config, "bias", None) not in {None, "none"}
        or bool(getattr(config, "layer_replication", None))
    )


@contextlib.contextmanager
def _without_bitsandbytes(model: Any) -> Iterator[None]:
    """Spare peft its import, three seconds with the compiler that comes with it, where the base is not quantised."""
    if getattr(model, "quantization_method", None) is not None:
        yield
        return
    with patch.multiple(lora_model, is_bnb_available=lambda: False, is_bnb_4bit_available=lambda: False):
        yield


class EngineModel:
    """A loaded base model, its tokenizer and template, and any number of adapters.

    Attributes:
        base_s: seconds that loading the base took.
        adapter_s: adapter → seconds that attaching it took.
    """

    def __init__(self, arguments: Mapping[str, Any], adapters: Mapping[str, str], dtype: str | None = None) -> None:
        """Load the base with the engine's arguments, attach adapters (name → folder), cast when ``dtype`` is given."""
        started_s = time.monotonic()
        engine = ChatModel(dict(arguments)).engine
        self.tokenizer, self.template, self._defaults = engine.tokenizer, engine.template, engine.generating_args
        self.model = engine.model
        if dtype is not None:
            self.model = self.model.to(getattr(torch, dtype))
        self.base_s = round(time.monotonic() - started_s, 2)
        self.adapter_s: dict[str, float] = {}
        self._internal: dict[str, str] = {}
        self._altering: str | None = None
        for name, folder in adapters.items():
            self.attach(name, folder)
        self.model.eval()
        self.stop_ids = set(self.template.get_stop_token_ids(self.tokenizer))

    def attach(self, name: str, folder: str) -> None:
        """Put one more adapter beside the base; a name that is taken gets the new one.

        Raises:
            ValueError: it, or one that is there, alters the base's own weights, so that neither can share a base; or
                its weights don't fit this base.
        """
        started_s = time.monotonic()
        config = PeftConfig.from_pretrained(folder)
        self._require_sharing(name, config)
        # On the device, peft draws at once the weights that the file then replaces; on a core that takes seconds.
        with self.model.device, _without_bitsandbytes(self.model):
            self._internal[name] = self._load_beside(folder)
        self.model.eval()
        if _alters_base(config):
            self._altering = name
        self.adapter_s[name] = round(time.monotonic() - started_s, 2)

    def _load_beside(self, folder: str) -> str:
        """The name by which peft knows the adapter now. Raises ValueError where its weights don't fit the base."""
        internal = f"adapter{len(getattr(self.model, 'peft_config', ()))}"  # peft takes no dots in an adapter's name
        try:
            misfit = _describe_misfit(self._place(folder, internal))
        except RuntimeError as error:
            *_, misfit = str(error).split(_MISMATCH)
            if misfit == str(error):
                raise
        if misfit:
            if len(self.model.peft_config) > 1:
                self.model.delete_adapter(internal)
            raise ValueError(f"{folder}: trained on another base: {misfit.strip()}")
        return internal

    def _place(self, folder: str, internal: str) -> Any:
        """Read the adapter's weights; peft's word on what had no place and what was missing."""
        if not isinstance(self.model, PeftModel):
            self.model = PeftModel.from_pretrained(self.model, folder, internal)
        else:
            # A layer that a neighbour brought whole (modules_to_save) is left without an active adapter, and peft
            # stumbles over it at the next one: choosing one sets every layer right.
            self.model.set_adapter("adapter0")
            self.model.load_adapter(folder, internal)
        # peft reads the first adapter into fp32, and every further one into the base's type before it makes that fp32:
        # what was rounded away comes with a second reading. This one also tells what had no place.
        return self.model.load_adapter(folder, internal)

    def _require_sharing(self, name: str | None, config: Any = None) -> None:
        """Raise ValueError where the base's weights are, or would be, no longer those that the others were tuned on."""
        altering = self._altering or (name if self._internal and _alters_base(config) else None)
        if altering is not None:
            raise ValueError(f"{altering}: it alters the base's own weights: nothing else can use them")

    @property
    def device(self) -> str:
        """The model's device: ``cpu``, ``cuda:0`` and so on."""
        return str(self.model.device)

    @property
    def dtype(self) -> str:
        """The type of the weights, as torch calls it: ``float32``."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def context_tokens(self) -> int | None:
        """Positions that the model was made for, stretched where its RoPE is scaled; None where it does not say."""
        config = self.model.config.get_text_config()
        made_for = getattr(config, "max_position_embeddings", None)
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        stretch = rope.get("factor", 1) if rope.get("rope_type") in _STRETCHING else 1
        return int(made_for * max(1, stretch)) if made_for else None

    @contextlib.contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        """Answer with this adapter, or with the base alone. Raises KeyError for an unknown adapter."""
        if adapter is not None:
            self.model.set_adapter(self._internal[adapter])
            yield
        elif isinstance(self.model, PeftModel):
            self._require_sharing(None)
            with self.model.disable_adapter():
                yield
        else:
            yield

    def encode(self, messages: Sequence[Mapping[str, str]], system: str | None, tools: str | None) -> list[int]:
        """The prompt's tokens through the template that training used; the last message is the user's."""
        turns = [*messages, {"role": "assistant", "content": ""}]
        prompt_ids, _ = self.template.encode_oneturn(self.tokenizer, turns, system, tools)
        return list(prompt_ids)

    def _config(self, settings: GenerationSettings) -> Any:
        values = self._defaults | {
            "do_sample": False,  # where sampling is asked for, `_Noise` does it
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 50,
            "max_new_tokens": settings.max_new_tokens,
            "eos_token_id": sorted(self.stop_ids),
            "pad_token_id": self.tokenizer.pad_token_id,
        }
        return GenerationConfig(**values)

    def calls(self, token_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tool calls of an answer, read in the template's own format: ``name`` and ``arguments``, an object."""
        for skip in (False, True):  # some templates mark calls with special tokens, others' readers expect them gone
            try:
                found = self.template.extract_tool(self.tokenizer.decode(token_ids, skip_special_tokens=skip))
                if not isinstance(found, str):
                    return [{"name": call.name, "arguments": json.loads(call.arguments)} for call in found]
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                continue  # the engine's readers stumble over what is nearly a call
        return []

    def _answer(self, generated: Sequence[int]) -> Answer:
        ids, stopped = [], False
        for token in generated:
            if token in self.stop_ids:
                stopped = True
                break
            ids.append(token)
        return Answer(ids, self.tokenizer.decode(ids, skip_special_tokens=True), stopped)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        settings: GenerationSettings,
        *,
        emit: Callable[[str], None] | None = None,
        stop_asked: Callable[[], bool] = lambda: False,
        numbers: Sequence[int] = (),
    ) -> list[Answer]:
        """Answer several prompts at once, padded on the left.

        Args:
            prompts: tokens of each.
            settings: how to answer.
            emit: gets the text of a single prompt as it comes.
            stop_asked: asked before each token.
            numbers: the questions' numbers, for the seeds of sampled answers; without them, their places.
        """
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        rows = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        output = self.model.generate(
            input_ids=torch.tensor(rows, device=self.model.device),
            attention_mask=torch.tensor(mask, device=self.model.device),
            generation_config=self._config(settings),
            logits_processor=self._processors(settings, numbers or range(len(prompts))),
            stopping_criteria=StoppingCriteriaList([_Asked(stop_asked)]),
            streamer=_TextSink(self.tokenizer, emit) if emit else None,
        )
        return [self._answer(row[width:].tolist()) for row in output]

    def _processors(self, settings: GenerationSettings, numbers: Sequence[int]) -> Any:
        if settings.temperature <= 0:
            return LogitsProcessorList()
        seeds = [(settings.seed * _SEED_STRIDE + number) % (1 << _SEED_BITS) for number in numbers]
        return LogitsProcessorList([_Noise(settings, seeds, self.model.device)])

    def generate_many(
        self, prompts: Sequence[Sequence[int]], settings: GenerationSettings, numbers: Sequence[int] = ()
    ) -> list[Answer]:
        """As `generate`, in halves when the device's memory does not hold them all."""
        numbers = numbers or range(len(prompts))
        try:
            return list(self.generate(prompts, settings, numbers=numbers))
        except torch.OutOfMemoryError:
            if len(prompts) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(prompts) // 2
        return [
            *self.generate_many(prompts[:middle], settings, numbers[:middle]),
            *self.generate_many(prompts[middle:], settings, numbers[middle:]),
        ]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def answer_logits(self, prompt: Sequence[int], answer: Sequence[int]) -> Any:
        """Logits of each position of a given answer and of the token after it: (len(answer) + 1, vocabulary), fp32."""
        tokens = torch.tensor([[*prompt, *answer]], device=self.model.device)
        logits = self.model(input_ids=tokens).logits[0, len(prompt) - 1 :]
        return logits.float().cpu()
