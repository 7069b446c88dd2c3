"""Answer questions with a model of the engine's: a worker.

Speaks JSON lines: requests on stdin, events on stdout (whatever the engine prints goes to stderr). The first request
loads: ``{"arguments": {…engine keys…}, "adapters": {name: folder}, "dtype": null}`` → ``{"event": "ready", …}``. Then

- ``{"op": "stream", "id": …, "messages": […], "system": …, "tools": …, "adapter": …, "generation": {…}}``
  → ``token`` events with the text as it comes, then one ``answer``;
- ``{"op": "batch", "requests": [{"id", "messages", "system", "tools"}…], "adapter", "generation", "batch_size",
  "known"}`` → an ``answer`` for each, as they are done, then ``done``; a batch of which all ids are known is left out;
- ``{"op": "attach", "name": …, "folder": …}`` → ``attached``: one more adapter beside the base.

An ``answer`` to a question with tools carries its ``calls``, read in the template's own format.

A request that fails gives an ``error`` event. SIGINT ends the answer that is being written. The end of stdin ends the
process at once, also in the middle of an answer: nobody listens any more.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from lfwrap_worker.channel import failure, read_requests, take_stdout, write_event
from lfwrap_worker.contract import (
    EVENT_ANSWER,
    EVENT_ATTACHED,
    EVENT_DONE,
    EVENT_READY,
    EVENT_TOKEN,
    OP_ATTACH,
    OP_STREAM,
    AnswerEvent,
    AttachRequest,
    BatchRequest,
    Conversation,
    GenerationSettings,
    LoadRequest,
    StreamRequest,
)

if TYPE_CHECKING:
    from lfwrap_worker.inference.engine_model import Answer, EngineModel

_DEFAULT_BATCH_SIZE = 8


class AnswerServer:
    """Takes requests, one after the other, and emits events."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._stop = threading.Event()
        self._model: EngineModel
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event to standard output."""
        write_event(self._channel, {"event": event, **fields})

    def load(self, request: LoadRequest) -> None:
        """Load the model; the engine is imported here, so that a broken installation is an ``error`` event too."""
        started_s = time.monotonic()
        from lfwrap_worker.inference.engine_model import EngineModel

        phases = {"import_s": round(time.monotonic() - started_s, 2)}
        self._model = EngineModel(request["arguments"], request.get("adapters", {}), request.get("dtype"))
        phases |= {"base_s": self._model.base_s, "adapters_s": round(sum(self._model.adapter_s.values()), 2)}
        seconds = round(time.monotonic() - started_s, 2)
        facts = {"device": self._model.device, "dtype": self._model.dtype, "context_tokens": self._model.context_tokens}
        self.emit(EVENT_READY, **facts, seconds=seconds, phases=phases)

    def handle(self, request: StreamRequest | BatchRequest | AttachRequest) -> None:
        """Answer one request of the parent."""
        self._stop.clear()
        if request["op"] == OP_ATTACH:
            self._model.attach(request["name"], request["folder"])
            self.emit(EVENT_ATTACHED, name=request["name"])
            return
        settings = GenerationSettings(**request.get("generation", {}))
        with self._model.using(request.get("adapter")):
            if request["op"] == OP_STREAM:
                self._stream(request, settings)
            else:
                self._batch(request, settings)

    def _stream(self, request: StreamRequest, settings: GenerationSettings) -> None:
        started_s = time.monotonic()
        prompt = self._encode(request)
        [answer] = self._model.generate(
            [prompt],
            settings,
            emit=lambda text: self.emit(EVENT_TOKEN, id=request["id"], text=text),
            stop_asked=self._stop.is_set,
            numbers=[request["id"]],
        )
        self._emit_answer(request, prompt, answer, time.monotonic() - started_s)

    def _batch(self, request: BatchRequest, settings: GenerationSettings) -> None:
        prompts = [(item, self._encode(item)) for item in request["requests"]]
        prompts.sort(key=lambda item: len(item[1]), reverse=True)  # the longest first: memory runs out early or never
        size = int(request.get("batch_size", _DEFAULT_BATCH_SIZE))
        known = set(request.get("known", ()))
        for start in range(0, len(prompts), size):
            if self._stop.is_set():
                break
            chunk = prompts[start : start + size]
            started_s = time.monotonic()
            numbers = [item["id"] for item, _ in chunk]
            if known.issuperset(numbers):
                continue
            answers = self._model.generate_many([prompt for _, prompt in chunk], settings, numbers)
            seconds = (time.monotonic() - started_s) / len(chunk)
            for (item, prompt), answer in zip(chunk, answers, strict=True):
                self._emit_answer(item, prompt, answer, seconds)
        self.emit(EVENT_DONE, stopped=self._stop.is_set())

    def _encode(self, request: Conversation) -> list[int]:
        return self._model.encode(request["messages"], request.get("system"), request.get("tools"))

    def _emit_answer(self, request: Conversation, prompt: list[int], answer: Answer, seconds: float) -> None:
        finish = "stop" if answer.stopped else "interrupted" if self._stop.is_set() else "length"
        event: AnswerEvent = {
            "event": EVENT_ANSWER,
            "id": request["id"],
            "text": answer.text,
            "calls": self._model.calls(answer.token_ids) if request.get("tools") else [],
            "prompt_tokens": len(prompt),
            "answer_tokens": len(answer.token_ids),
            "finish": finish,
            "seconds": round(seconds, 3),
        }
        write_event(self._channel, event)


def serve(kind: type[AnswerServer]) -> int:
    """Load, then answer until stdin closes; returns 1 when the model can't be loaded."""
    channel = take_stdout()
    server = kind(channel)
    requests = read_requests(sys.stdin)
    try:
        server.load(next(requests))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        write_event(channel, failure(error))
        return 1
    for request in requests:
        try:
            server.handle(request)
        except Exception as error:  # noqa: BLE001 - one bad request does not end the conversation
            write_event(channel, failure(error, is_fatal=False))
    return 0


def main() -> int:
    """Answer questions with one model."""
    return serve(AnswerServer)
