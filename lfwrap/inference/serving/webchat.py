"""The engine's web chat (`llamafactory-cli webchat`) as a child, reachable from this machine alone."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.worker_process import end_group, ending, engine_failure
from lfwrap.errors import EngineError, PreflightError
from lfwrap.files import write_text
from lfwrap.inference.target import Target
from lfwrap.yaml_files import dump_yaml

HOST = "127.0.0.1"
_LOAD_TIMEOUT_S = 3600.0
_POLL_S = 0.2
_TAIL_BYTES = 16_384


def run_web_chat(
    engine: Engine,
    target: Target,
    *,
    port: int,
    base: bool = False,
    browser: bool = True,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until the child ends or an exception (^C, a signal) unwinds; then nothing is left running.

    Args:
        engine: the engine.
        target: what answers; its adapter is folded into the weights, as the engine's chat does.
        port: of the page.
        base: answer without the adapter.
        browser: let the engine open a browser.
        ready: gets the address when the page is there.

    Raises:
        PreflightError: gradio is missing, or the port is taken.
        EngineError: the engine failed.
    """
    check_web_chat(engine, port)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as log:
        settings = Path(scratch) / "webchat.yaml"
        write_text(settings, dump_yaml(web_settings(target, base=base)))
        child = subprocess.Popen(
            [str(engine.cli), "webchat", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=scratch,
            env=web_environment(target, port, browser=browser),
            start_new_session=True,
        )
        try:
            _wait_until_up(child, port, log)
            ready(f"http://{HOST}:{port}")
            if child.wait() != 0:
                raise _failure(child, log)
        finally:
            end_group(child)


def check_web_chat(engine: Engine, port: int) -> None:
    """See that gradio is there and the port free. Raises PreflightError."""
    if package_version(engine, "gradio") is None:
        raise PreflightError(
            "--web needs gradio, which is not installed for the engine's Python",
            hint=f"{engine.python} -m pip install 'lfwrap[web]' (or 'gradio>=4.38,<=5.50.0').",
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PreflightError(
                f"port {port}: can't be used: {error.strerror}", hint="Name another one: --port."
            ) from error


def web_settings(target: Target, *, base: bool) -> dict[str, Any]:
    """The engine's YAML for its chat."""
    return target.engine_arguments(adapters=target.prior_adapters if base else target.adapters)


def web_environment(target: Target, port: int, *, browser: bool) -> Mapping[str, str]:
    """Bound to this machine, shared with nobody, no calls home, no local files for whoever asks."""
    environment = engine_environment(model_is_local=target.model_is_local)
    environment.pop("GRADIO_ROOT_PATH", None)
    environment |= {
        "GRADIO_SERVER_NAME": HOST,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SHARE": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "ALLOW_LOCAL_FILES": "0",
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy", ""), HOST, "localhost"])),
    }
    if not browser:
        environment["BROWSER"] = "true"  # the command that does nothing
    return environment


def _wait_until_up(child: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline_s = time.monotonic() + _LOAD_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if child.poll() is not None:
            raise _failure(child, log)
        with socket.socket() as probe:
            probe.settimeout(_POLL_S)
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(_POLL_S)
    raise EngineError("The web chat did not come up within an hour.", hint="`lfwrap chat` without --web shows why.")


def _failure(child: subprocess.Popen[bytes], log: IO[bytes]) -> EngineError:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    text = log.read().decode(errors="replace")
    return engine_failure(f"llamafactory-cli webchat {ending(child.returncode)}", text, child.returncode or 0)
