"""The engine's web chat (`llamafactory-cli webchat`) as a child, reachable from this machine alone."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lfwrap.engine.environment import engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.server_process import ServerProcess
from lfwrap.errors import PreflightError
from lfwrap.files import write_text
from lfwrap.inference.target import Target
from lfwrap.yaml_files import dump_yaml

HOST = "127.0.0.1"
_LOAD_TIMEOUT_S = 3600.0
_POLL_S = 0.2
_FAILURE = FailureText("llamafactory-cli webchat", hint="`lfwrap chat` without --web shows why.")


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
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "webchat.yaml"
        write_text(settings, dump_yaml(web_settings(target, base=base)))
        environment = web_environment(target, port, browser=browser)
        argv = [str(engine.cli), "webchat", str(settings)]
        with ServerProcess(argv, environment=environment, cwd=Path(scratch), text=_FAILURE) as server:
            server.wait_until(lambda: _is_up(port), limit_s=_LOAD_TIMEOUT_S, poll_s=_POLL_S)
            ready(f"http://{HOST}:{port}")
            server.wait()


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
    """Bound to this machine, shared with nobody, no calls home, no local files for those who ask."""
    added = {
        "GRADIO_SERVER_NAME": HOST,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SHARE": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "ALLOW_LOCAL_FILES": "0",
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy", ""), HOST, "localhost"])),
    }
    if not browser:
        added["BROWSER"] = "true"  # the command that does nothing
    return engine_environment(model_is_local=target.model_is_local, added=added, without=("GRADIO_ROOT_PATH",))


def _is_up(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_POLL_S)
        return probe.connect_ex((HOST, port)) == 0
