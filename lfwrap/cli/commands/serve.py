"""`lfwrap serve`: a tuned model behind an OpenAI-compatible address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.target import open_target, target_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.inference.serving.serve import ServeOptions, Server


@click.command("serve")
@target_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; only this machine's own.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option(
    "--backend",
    type=click.Choice(["huggingface", "vllm", "sglang"]),
    default="huggingface",
    show_default=True,
    help="What generates; vllm and sglang must be installed for the engine.",
)
@click.option("--name", metavar="NAME", help="What the model is called. Without it, the run's or folder's name.")
@click.option("--no-api-key", is_flag=True, help="Let everybody in who reaches the address.")
@click.option(
    "--parity/--no-parity",
    default=False,
    show_default=True,
    help="First ask base + adapter, then the server, the same questions; differing answers are an error.",
)
@click.option("--log-requests", is_flag=True, help="A line on stderr for each request: path, status, seconds.")
@click.option("--json", "as_json", is_flag=True, help="The ready line as one JSON object on stdout.")
def command(
    *,
    run: str,
    runs_dir: Path,
    base_model: str | None,
    template: str | None,
    parity: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    r"""Serve a tuned model over HTTP, as OpenAI's API: chat completions, streams, tool calls.

    RUN is a run (folder or name), a checkpoint, an adapter folder or a whole model. Clients need the key in
    LFWRAP_API_KEY; without that variable one is made up and shown. The address appears on stdout when requests are
    answered. ^C or SIGTERM ends it, with nothing left behind.

    \b
    Example:
      lfwrap serve latest
      LFWRAP_API_KEY=… lfwrap serve latest --port 8080 --parity
    """
    from lfwrap.inference.serving.backends import check_backend
    from lfwrap.inference.serving.serve import Server, check_address, check_answers, reference_answers

    options, is_new = _options(run, **wishes)
    engine, target = open_target(run, runs_dir, base_model, template)
    check_backend(engine, target, options.backend)
    check_address(options)
    _warn(options)
    reference = None
    if parity:
        output.say("asking base + adapter")
        reference = reference_answers(engine, target)
    output.say(f"loading {target.name}")
    with Server(engine, target, options) as server:
        found = check_answers(server, reference) if reference is not None else None
        _show_ready(server, options, found, is_new=is_new, as_json=as_json)
        for event in server.requests():
            output.say(f"{event['method']} {event['path']} {event['status']} {event['seconds']:.2f} s")


def _options(run: str, *, name: str | None, no_api_key: bool, **same: Any) -> tuple[ServeOptions, bool]:
    """How to serve, and whether the key was made up here. Raises UsageError for an empty key."""
    from lfwrap.inference.serving.serve import KEY_VARIABLE, ServeOptions, new_key

    stated = os.environ.get(KEY_VARIABLE)
    if stated is not None and not stated.strip() and not no_api_key:
        raise UsageError(f"{KEY_VARIABLE} is set, but empty", hint="Give it a value, unset it, or say --no-api-key.")
    key = None if no_api_key else stated or new_key()
    return ServeOptions(name=name or Path(run).name or run, api_key=key, **same), key is not None and not stated


def _warn(options: ServeOptions) -> None:
    if not options.is_local:
        output.say(
            f"warning: {options.host} can be reached from other machines, over plain HTTP: the key and all that is "
            "said can be read on the way"
        )
    if options.api_key is None:
        output.say("warning: no key: every program, and every web page open on this machine, can ask this model")


def _show_ready(
    server: Server, options: ServeOptions, found: dict[str, Any] | None, *, is_new: bool, as_json: bool
) -> None:
    """The one line that others wait for; a key that was made up here is shown once, one that was given never."""
    if as_json:
        value = {"address": server.address, "model": options.name, "pid": server.pid, "parity": found}
        if is_new:
            value["api_key"] = options.api_key
        output.print_json("serve", value)
    else:
        if found is not None:
            output.say(f"{found['same_answers']} of {found['questions']} answers over HTTP are those of base + adapter")
        if is_new:
            output.say(f"API key: {options.api_key}")
        output.say(f"model: {options.name}; ^C ends it")
        output.result(f"ready: {server.address}")
