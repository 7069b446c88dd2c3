"""The engine's OpenAI-compatible API: a worker.

Reads one JSON object from stdin: a `ServeJob`. The key is in the
environment (``API_KEY``), the model's name too (``API_MODEL_NAME``). Writes JSON lines: ``ready`` with the address once
requests are answered, and ``request`` (path, status, seconds; nothing of what was said) where wanted. The end of stdin
ends it.

The app is the engine's own. Requests are put into its words first (`openai_request`), and a stream with tools, which
the engine refuses, is answered whole and sent as a stream.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from lfwrap_worker.channel import failure, take_stdout, write_event
from lfwrap_worker.contract import EVENT_READY, EVENT_REQUEST, ServeJob

_COMPLETIONS = "/v1/chat/completions"
_PUBLIC = {"/health"}
Emit = Callable[..., None]


class Guard:
    """ASGI middleware: lets nobody in without the key, and says what was asked for and how it went."""

    def __init__(self, app: Any, key: str | None, emit: Emit | None) -> None:
        self._app, self._key, self._emit = app, key, emit

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status = time.monotonic(), 0

        async def watch(message: dict[str, Any]) -> None:
            """Pass a message of the answer on, and keep its status."""
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if self._may_enter(scope):
                await self._app(scope, receive, watch)
            else:
                await _refuse(watch)
        finally:
            if self._emit is not None:
                seconds = round(time.monotonic() - started_s, 3)
                self._emit(EVENT_REQUEST, method=scope["method"], path=scope["path"], status=status, seconds=seconds)

    def _may_enter(self, scope: dict[str, Any]) -> bool:
        if not self._key or scope["path"] in _PUBLIC or scope["method"] == "OPTIONS":
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + self._key.encode())


async def _refuse(send: Any) -> None:
    body = json.dumps({"error": {"message": "Invalid API key.", "type": "invalid_request_error"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def build_app(chat_model: Any, after_result: tuple[str, str, str] | None = None) -> Any:
    """The engine's app with our route for completions before its own; ``after_result`` is that of `ServeJob`."""
    from fastapi import HTTPException, Request
    from llamafactory.api.app import create_app
    from llamafactory.api.chat import create_chat_completion_response, create_stream_chat_completion_response
    from llamafactory.api.protocol import ChatCompletionRequest
    from pydantic import ValidationError
    from sse_starlette import EventSourceResponse

    from lfwrap_worker.inference.openai_request import engine_request

    app = create_app(chat_model)

    async def complete(request: Request) -> Any:
        """Answer one chat completion, whole or as a stream."""
        try:
            body = engine_request(await request.json(), chat_model.engine.template, after_result)
            wanted = ChatCompletionRequest(**body)
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise HTTPException(status_code=400, detail=str(error)) from error
        if not wanted.stream:
            return await create_chat_completion_response(wanted, chat_model)
        if wanted.tools:
            wanted.stream = False
            whole = await create_chat_completion_response(wanted, chat_model)
            return EventSourceResponse(_pieces(whole), media_type="text/event-stream", sep="\n")
        pieces = create_stream_chat_completion_response(wanted, chat_model)
        return EventSourceResponse(pieces, media_type="text/event-stream", sep="\n")

    async def health() -> dict[str, str]:
        """Say that the server is up."""
        return {"status": "ok"}

    # As real types: FastAPI reads them, and this module's annotations are text.
    complete.__annotations__["request"] = Request
    app.add_api_route(_COMPLETIONS, complete, methods=["POST"], response_model=None)
    app.add_api_route("/health", health, methods=["GET"])
    ours = app.router.routes[-2:]
    app.router.routes[:] = [*ours, *app.router.routes[:-2]]
    return app


async def _pieces(whole: Any) -> AsyncIterator[str]:
    """A whole answer as the events of a stream: the message of each choice, then why it ended."""
    head = {"id": whole.id, "object": "chat.completion.chunk", "created": whole.created, "model": whole.model}
    for choice in whole.choices:
        delta = choice.message.model_dump(mode="json", exclude_none=True)
        for index, call in enumerate(delta.get("tool_calls", [])):
            call["index"] = index
        for piece, reason in ((delta, None), ({}, choice.finish_reason)):
            event = {"index": choice.index, "delta": piece, "finish_reason": reason}
            yield json.dumps({**head, "choices": [event]}, ensure_ascii=False)
    yield "[DONE]"


def serve(job: ServeJob, emit: Emit) -> None:
    """Load the model, answer requests until asked to stop."""
    import uvicorn
    from llamafactory.chat import ChatModel

    listener = _listen(job["host"], job["port"])  # before the minutes of loading: a taken port is told at once
    started_s = time.monotonic()
    chat_model = ChatModel(dict(job["arguments"]))
    ours = build_app(chat_model, job["after_result"])
    app = Guard(ours, os.environ.get("API_KEY"), emit if job["log_requests"] else None)

    class Server(uvicorn.Server):
        """A server that reports its address once it listens."""

        async def startup(self, sockets: Any = None) -> None:
            """Listen, and say so."""
            await super().startup(sockets)
            host, port = listener.getsockname()[:2]
            emit(EVENT_READY, host=host, port=port, seconds=round(time.monotonic() - started_s, 1))

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    asyncio.run(Server(config).serve([listener]))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen()  # uvicorn takes it over
    return listener


def _end_with(source: IO[str]) -> None:
    source.read()
    os._exit(0)


def main() -> None:
    """Serve until stopped; ends the process, whose other threads, the engine's, do not end."""
    status = _serve_job(take_stdout())
    sys.stdout.flush()
    os._exit(status)


def _serve_job(channel: IO[str]) -> int:
    lock = threading.Lock()

    def emit(event: str, **fields: Any) -> None:
        """Write one event to lfwrap, as a line of JSON."""
        with lock:
            write_event(channel, {"event": event, **fields})

    try:
        job = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
        serve(job, emit)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        emit(**failure(error))
        return 1
    return 0
