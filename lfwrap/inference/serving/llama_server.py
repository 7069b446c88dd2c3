"""A GGUF file behind llama.cpp's HTTP server, from the package xllamacpp or a `llama-server` on the PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.arguments import LOCALHOST, free_port
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.server_process import ServerProcess
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.errors import EngineError

RUNTIME_HINT = "pip install 'lfwrap[gguf]' brings xllamacpp; llama.cpp's llama-server on the PATH does as well."
_BINARY = "llama-server"
_REQUEST_TIMEOUT_S = 600.0
_START_TIMEOUT_S = 600.0
_POLL_S = 0.1


def find_runtime(engine: Engine) -> str | None:
    """``xllamacpp`` or ``llama-server``, whichever is there; None without either."""
    if package_version(engine, "xllamacpp"):
        return "xllamacpp"
    return _BINARY if shutil.which(_BINARY) else None


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A running llama-server of llama.cpp.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
    """

    address: str

    def is_up(self) -> bool:
        """Whether it has loaded the file and answers."""
        try:
            urllib.request.urlopen(f"{self.address}/health", timeout=_POLL_S).close()  # noqa: S310 - our own address
        except OSError:
            return False
        return True

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request and its answer. Raises EngineError when the server refuses it or does not answer."""
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.address + path, orjson.dumps(body), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:  # noqa: S310 - our own address
                value: dict[str, Any] = orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise EngineError(f"llama.cpp answers {path} with {error.code}: {_words(error)}") from error
        except (OSError, ValueError) as error:
            raise EngineError(f"llama.cpp does not answer {path}: {error}") from error
        return value


def _words(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        return str(orjson.loads(text)["error"]["message"])
    return text.strip() or error.reason


@contextlib.contextmanager
def serve_gguf(engine: Engine, path: Path, *, context_tokens: int) -> Iterator[LlamaServer]:
    """Serve a GGUF file while the context lasts; nothing of it is left afterwards.

    Raises:
        EngineError: the file can't be loaded.
        PreflightError: no runtime can be started.
    """
    if find_runtime(engine) == "xllamacpp":
        arguments = [str(path), str(context_tokens)]
        environment = engine_environment(model_is_local=True)
        with WorkerProcess(engine.python, "gguf_server", arguments, environment=environment) as worker:
            yield LlamaServer(worker.receive()["address"])
    else:
        with _binary_server(path, context_tokens) as server:
            yield server


@contextlib.contextmanager
def _binary_server(path: Path, context_tokens: int) -> Iterator[LlamaServer]:
    port = free_port()
    command = [_BINARY, "-m", str(path), "-c", str(context_tokens), "--host", LOCALHOST, "--port", str(port)]
    with ServerProcess([*command, "--jinja", "-np", "1"], environment=os.environ) as process:
        server = LlamaServer(f"http://{LOCALHOST}:{port}")
        process.wait_until(server.is_up, limit_s=_START_TIMEOUT_S, poll_s=_POLL_S)
        yield server
