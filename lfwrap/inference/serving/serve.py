"""A model behind the engine's OpenAI-compatible API: started, asked whether it answers as trained, and ended."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from lfwrap.engine.chat_templates import after_result
from lfwrap.engine.contract import ServeJob
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.errors import EngineError, PreflightError
from lfwrap.inference.parity import DEFAULT_QUESTIONS, TOLERANCES, ReferenceAnswer, compare_sides
from lfwrap.inference.serving.backends import backend_arguments
from lfwrap.inference.target import Target

KEY_VARIABLE = "LFWRAP_API_KEY"
_KEY_BYTES = 24
_REQUEST_TIMEOUT_S = 600.0
_TIE = TOLERANCES["bfloat16"].tie
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of a server.

    Attributes:
        host: the address to listen on.
        port: 0 for any that is free.
        backend: one of `backends.BACKENDS`.
        name: what the model is called in answers.
        api_key: what clients must send; None lets everybody in. Never shown.
        log_requests: emit an event for each request.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    backend: str = "huggingface"
    name: str = "default"
    api_key: str | None = field(default=None, repr=False)
    log_requests: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def check_address(options: ServeOptions) -> None:
    """See that the address can be listened on, before a model is loaded for it.

    Raises:
        PreflightError: another program has it, or it is not an address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason, hint = "another program listens there", "--port 0 takes any that is free."
        else:
            reason, hint = error.strerror or str(error), "Name an address of this machine: --host, --port."
    raise PreflightError(f"{options.host}, port {options.port}: {reason}", hint=hint)


def new_key() -> str:
    """A key that nobody guesses."""
    return "lfwrap-" + secrets.token_urlsafe(_KEY_BYTES)


def serve_arguments(target: Target, backend: str) -> dict[str, Any]:
    """The engine's keys that load a target for its API."""
    return target.engine_arguments(adapters=target.adapters) | backend_arguments(target, backend)


class Server:
    """A running server. Use it as a context: on leaving, nothing of it is left."""

    def __init__(self, engine: Engine, target: Target, options: ServeOptions) -> None:
        """Start to load. Raises PreflightError when the engine's Python can't be started."""
        added = {"ALLOW_LOCAL_FILES": "0", "API_VERBOSE": "0", "API_MODEL_NAME": options.name}
        # SGLang's own server is started by the engine as `python3`: the engine's, not whichever comes first.
        added["PATH"] = os.pathsep.join([str(engine.python.parent), os.environ.get("PATH", os.defpath)])
        if options.api_key:
            added["API_KEY"] = options.api_key
        environment = engine_environment(
            model_is_local=target.model_is_local, added=added, without=("API_KEY", KEY_VARIABLE)
        )
        self._options = options
        arguments = serve_arguments(target, options.backend)
        self._job: ServeJob = {
            "arguments": arguments,
            "host": options.host,
            "port": options.port,
            "log_requests": options.log_requests,
            "after_result": after_result(arguments.get("template")),
        }
        self._worker = WorkerProcess(engine.python, "serve_api", environment=environment)

    def __enter__(self) -> Self:
        """Wait until it answers. Raises EngineError when it can't load, or the port is taken."""
        self.ready = self._worker.begin_and_wait(self._job)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._worker.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._worker.pid

    @property
    def address(self) -> str:
        """``http://HOST:PORT/v1``, as clients take it."""
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"http://{host}:{self.ready['port']}/v1"

    def requests(self) -> Iterator[dict[str, Any]]:
        """What was asked for, for as long as it runs. Raises EngineError when it ends by itself."""
        yield from self._worker.events()

    def ask(self, question: str, max_tokens: int) -> str:
        """The greedy answer to a question, over HTTP. Raises EngineError."""
        body = {
            "model": self._options.name,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if self._options.api_key:
            headers["Authorization"] = f"Bearer {self._options.api_key}"
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/chat/completions", orjson.dumps(body), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:  # noqa: S310 - our own address
                value = orjson.loads(answer.read())
        except (OSError, ValueError) as error:
            raise EngineError(f"{self.address}: no answer: {error}") from error
        return str(value["choices"][0]["message"]["content"] or "")


def reference_answers(
    engine: Engine, target: Target, questions: Sequence[str] = DEFAULT_QUESTIONS
) -> tuple[ReferenceAnswer, ...]:
    """What base + adapter answer, to hold a server against. Raises EngineError."""
    return compare_sides(engine, target, {}, "bfloat16", questions=questions).reference


def check_answers(server: Server, reference: Sequence[ReferenceAnswer]) -> dict[str, Any]:
    """Ask the same over HTTP.

    Raises:
        EngineError: an answer is another one, and not for a near tie; with the first token that differs.
    """
    same, problems = 0, []
    for expected in reference:
        found = server.ask(expected.question, max(1, len(expected.answer_ids)))
        if found.strip() == expected.answer.strip():
            same += 1
            continue
        position, margin = _parting(expected, found)
        if margin > _TIE:
            problems.append(
                f"'{expected.question}': the answers part at token {position + 1}: "
                f"{expected.answer[_start(expected, position) :][:_SHOWN_CHARACTERS]!r} before, "
                f"{found[_start(expected, position) :][:_SHOWN_CHARACTERS]!r} served"
            )
    if problems:
        raise EngineError(
            "The server does not answer as the adapter on its base: " + "; ".join(problems),
            hint="--no-parity serves it all the same; please report this.",
        )
    return {"passed": True, "same_answers": same, "questions": len(reference)}


def _parting(expected: ReferenceAnswer, found: str) -> tuple[int, float]:
    """The first token of the reference that the other text does not have, and the lead it had over the next one."""
    shared = next(
        (index for index, (one, other) in enumerate(zip(expected.answer, found, strict=False)) if one != other),
        min(len(expected.answer), len(found)),
    )
    ends = expected.text_ends
    position = next((index for index, end in enumerate(ends) if end > shared), len(ends))
    gaps = sorted(_gaps(expected, position).values())
    return position, gaps[1] if len(gaps) > 1 else float("inf")


def _gaps(expected: ReferenceAnswer, position: int) -> Mapping[int, float]:
    return expected.gaps[min(position, len(expected.gaps) - 1)] if expected.gaps else {}


def _start(expected: ReferenceAnswer, position: int) -> int:
    """Where in the text a token begins."""
    return expected.text_ends[position - 1] if position else 0
