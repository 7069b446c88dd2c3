"""A job, shown before it starts: what is going to happen, or with a dry run all of its files and its command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lfwrap.cli.view import output

if TYPE_CHECKING:
    from lfwrap.errors import Finding
    from lfwrap.run.prepare.job import Job


def show_findings(findings: tuple[Finding, ...]) -> None:
    """Warnings and notes that do not stop the run, on stderr."""
    for finding in findings:
        output.say(f"{finding.severity}: {finding}")


def show_start(job: Job, *, verbose: bool) -> None:
    """What is going to happen, in a few lines on stderr."""
    show_findings(job.report.warnings)
    for note in job.notes:
        output.say(f"note: {note}")
    if verbose:
        show_values(job)
    if job.rendered.batch is not None:
        output.say(f"batch: {job.rendered.batch} (micro-batch × accumulation × processes)")
    if job.schedule is not None:
        output.say(f"schedule: {job.schedule}")
    output.say(f"run: {job.paths.root}")
    if verbose:
        output.say(f"$ {job.command.quoted}")


def show_values(job: Job) -> None:
    """Each rendered value with its source, on stderr."""
    for value in job.rendered.values:
        output.say(f"  {value.key}: {value.value}  ({value.source}{': ' + value.reason if value.reason else ''})")


def show_job(job: Job, *, as_json: bool, verbose: bool) -> int:
    """The rendered files, the exact command and the environment it adds, on stdout; findings on stderr."""
    error = job.report.to_error()
    if error is not None:
        raise error
    if as_json:
        output.print_json("dry-run", _job_json(job))
        return 0
    show_findings(job.report.warnings)
    for note in job.notes:
        output.say(f"note: {note}")
    if verbose:
        show_values(job)
    output.result(f"# {job.paths.engine_yaml}\n{job.rendered.engine_yaml}")
    if job.rendered.deepspeed is not None:
        import orjson

        text = orjson.dumps(job.rendered.deepspeed, option=orjson.OPT_INDENT_2).decode()
        output.result(f"# {job.paths.deepspeed}\n{text}\n")
    for path, text in job.command.files.items():
        output.result(f"# {path}\n{text}")
    if job.rendered.batch is not None:
        output.result(f"# batch: {job.rendered.batch} (micro-batch × accumulation × processes)")
    if job.schedule is not None:
        output.result(f"# schedule: {job.schedule}")
    output.result(f"# in {job.command.cwd}")
    environment = job.command.quoted_environment
    output.result(f"{environment} \\\n  {job.command.quoted}" if environment else job.command.quoted)
    return 0


def _job_json(job: Job) -> dict[str, Any]:
    batch = job.rendered.batch
    return {
        "path": str(job.paths.root),
        "engine": job.rendered.engine,
        "engine_yaml": job.rendered.engine_yaml,
        "deepspeed": job.rendered.deepspeed,
        "world_size": job.rendered.world_size,
        "effective_batch_size": batch.effective if batch else None,
        "micro_batch_size": batch.micro_batch if batch else None,
        "gradient_accumulation_steps": batch.accumulation if batch else None,
        "schedule": job.schedule.to_json() if job.schedule else None,
        "launcher": job.launcher.name,
        "files": {str(path): text for path, text in job.command.files.items()},
        "command": job.command.to_json(),
        "values": [value.to_json() for value in job.rendered.values],
        "notes": list(job.notes),
        "findings": [finding.to_json() for finding in job.report.findings],
    }
