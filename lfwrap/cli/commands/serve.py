"""`lfwrap serve`: a tuned model behind an OpenAI-compatible address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.options.target import TargetArgs, open_target, target_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.inference.serving.serve import ServeOptions, Server


@dataclass(frozen=True, slots=True)
class ServeArgs:
    """The command line of `lfwrap serve`.

    Attributes:
        target: what is served.
        host: the address to listen on.
        port: its port; 0 for any that is free.
        backend: what generates.
        name: what the model is called; None takes the run's or folder's name.
        no_api_key: serve without a key.
        parity: compare the served answers with those of base + adapter first.
        log_requests: a line on stderr for each request.
        as_json: the ready line as one JSON object.
    """

    target: TargetArgs
    host: str
    port: int
    backend: str
    name: str | None
    no_api_key: bool
    parity: bool
    log_requests: bool
    as_json: bool


@click.command("serve")
@target_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; by default only this machine reaches it.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--backend",
    type=click.Choice(["huggingface", "vllm", "sglang"]),
    default="huggingface",
    show_default=True,
    help="What generates; vllm and sglang must be installed for the engine.",
)
@click.option("--name", metavar="NAME", help="What the model is called; by default the run's or folder's name.")
@click.option("--no-api-key", is_flag=True, help="Let in everybody who reaches the address.")
@click.option(
    "--parity/--no-parity",
    default=False,
    show_default=True,
    help="First ask base + adapter and the server the same questions; different answers are an error.",
)
@click.option("--log-requests", is_flag=True, help="Write a line on stderr for each request: path, status, seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as one JSON object on stdout.")
@takes(ServeArgs)
def command(args: ServeArgs) -> None:
    r"""Serve a tuned model over HTTP, as OpenAI's API: chat completions, streams, tool calls.

    RUN is a run (folder or name), a checkpoint, an adapter folder or a whole model. Clients need the key in
    LFWRAP_API_KEY; without that variable a new one is made and shown. The address appears on stdout when requests are
    answered. ^C or SIGTERM ends it, with nothing left behind.

    \b
    Example:
      lfwrap serve latest
      LFWRAP_API_KEY=… lfwrap serve latest --port 8080 --parity
    """
    from lfwrap.inference.serving.backends import check_backend
    from lfwrap.inference.serving.serve import Server, check_address, check_answers, reference_answers

    options, is_new = _options(args)
    engine, target = open_target(args.target)
    check_backend(engine, target, options.backend)
    check_address(options)
    _warn(options)
    reference = None
    if args.parity:
        output.say("asking base + adapter")
        reference = reference_answers(engine, target)
    output.say(f"loading {target.name}")
    with Server(engine, target, options) as server:
        found = check_answers(server, reference) if reference is not None else None
        _show_ready(server, options, found, is_new=is_new, as_json=args.as_json)
        for event in server.requests():
            output.say(f"{event['method']} {event['path']} {event['status']} {event['seconds']:.2f} s")


def _options(args: ServeArgs) -> tuple[ServeOptions, bool]:
    """How to serve, and whether the key was made here. Raises UsageError for an empty key."""
    from lfwrap.inference.serving.serve import KEY_VARIABLE, ServeOptions, new_key

    stated = os.environ.get(KEY_VARIABLE)
    if stated is not None and not stated.strip() and not args.no_api_key:
        raise UsageError(f"{KEY_VARIABLE} is set, but empty", hint="Give it a value, unset it, or say --no-api-key.")
    key = None if args.no_api_key else stated or new_key()
    run = args.target.run
    options = ServeOptions(
        host=args.host,
        port=args.port,
        backend=args.backend,
        name=args.name or Path(run).name or run,
        api_key=key,
        log_requests=args.log_requests,
    )
    return options, key is not None and not stated


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
    """The one line that others wait for; a key that was made here is shown once, one that was given never."""
    if as_json:
        value = {"address": server.address, "model": options.name, "pid": server.pid, "parity": found}
        if is_new:
            value["api_key"] = options.api_key
        output.print_json("serve", value)
    else:
        if found is not None:
            output.say(
                f"{found['same_answers']} of {found['questions']} answers over HTTP are the same as with base + adapter"
            )
        if is_new:
            output.say(f"API key: {options.api_key}")
        output.say(f"model: {options.name}; ^C ends it")
        output.result(f"ready: {server.address}")
