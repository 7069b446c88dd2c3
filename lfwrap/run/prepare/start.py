"""Make a run's folder and write down everything it starts from."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.engine.keys import DEFAULT_METHOD, DEFAULT_QUANTIZATION, DEFAULT_STAGE, METHOD_KEY, MODEL_KEY
from lfwrap.engine.versions import installed_versions
from lfwrap.errors import RunStateError
from lfwrap.files import write_bytes, write_json, write_text
from lfwrap.invocation import Invocation
from lfwrap.masking import is_secret
from lfwrap.recipe.inputs.files import dataset_entries, hash_inputs
from lfwrap.recipe.recipe import split_names
from lfwrap.run.folder.paths import RunPaths, create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, prepare_record, utc_now
from lfwrap.run.prepare.environment import describe_environment, hub_commits, seeds
from lfwrap.run.prepare.job import Job, TrainRequest, load_request, prepare_job, propose_name, runs_folder
from lfwrap.strategy.lock import lock_paths, write_entries


def create_run(request: TrainRequest, invocation: Invocation) -> tuple[Job, Run]:
    """Check everything, then make the run's folder with all it starts from; its state is ``prepared``.

    Raises:
        RecipeError, DataError, PreflightError: what the preflight found, all of it; no folder is left.
        LfwrapError: as `preview_job`.
    """
    recipe = load_request(request, invocation)
    runs_dir = runs_folder(request, invocation)
    was_there = runs_dir.is_dir()
    paths = create_run_folder(runs_dir, propose_name(recipe, request, invocation.now))
    try:
        job = prepare_job(request, recipe, paths.root, invocation)
        job.report.require_none()
        return job, _write_run(job, invocation)
    except BaseException:
        shutil.rmtree(paths.root, ignore_errors=True)
        if not was_there:
            with contextlib.suppress(OSError):
                runs_dir.rmdir()
        raise


def _write_run(job: Job, invocation: Invocation) -> Run:
    engine = job.engine
    if engine is None:
        raise RunStateError(f"{job.paths.name}: there is no engine to run it", hint="See `lfwrap doctor`.")
    paths, rendered = job.paths, job.rendered
    mode = config_mode(rendered.engine)
    write_bytes(paths.recipe, job.recipe_yaml.encode(), mode=mode)
    write_bytes(paths.engine_yaml, rendered.engine_yaml.encode(), mode=mode)
    if rendered.deepspeed is not None:
        write_json(paths.deepspeed, rendered.deepspeed)
    if job.strategy.plan is not None:
        write_json(paths.plan, job.strategy.plan.to_json())
    write_json(paths.launch, job.launch.to_json())
    if job.strategy.lock is not None:  # beside the run's recipe, so that doing it again follows the same measurements
        write_entries(lock_paths(paths.recipe)[0], [job.strategy.lock])
    for path, text in job.command.files.items():
        write_text(path, text)
    environment = {**invocation.environ, **job.command.environment}
    write_json(paths.environment, describe_environment(engine, job.hardware, environment, invocation.cwd))
    write_json(paths.inputs, describe_inputs(paths, rendered.engine, invocation.cwd))
    return prepare_record(paths, _first_record(job, invocation.cwd, installed_versions(engine)))


def config_mode(values: Mapping[str, Any]) -> int:
    """Permissions of the files that hold these values: the user's alone where one of them is a token or a password."""
    return 0o600 if any(is_secret(key) and value for key, value in values.items()) else 0o644


def describe_inputs(paths: RunPaths, values: dict[str, Any], cwd: Path) -> dict[str, Any]:
    """The content of ``inputs.json``: the files that the run is made of, and how its data sets are registered."""
    own = {"recipe": paths.recipe, "engine_yaml": paths.engine_yaml, "deepspeed": paths.deepspeed}
    files = hash_inputs(values, cwd, {what: path for what, path in own.items() if path.is_file()})
    return {
        "files": files,
        "datasets": dataset_entries(values, cwd),
        "seeds": seeds(values),
        **hub_commits(values, cwd),
    }


def _first_record(job: Job, cwd: Path, versions: dict[str, str]) -> RunRecord:
    values, batch = job.rendered.engine, job.rendered.batch
    model = str(values[MODEL_KEY])
    folder = cwd / Path(model).expanduser()
    bit = values.get("quantization_bit")
    return RunRecord(
        name=job.paths.name,
        state=RunState.PREPARED,
        recipe=job.recipe.name,
        created_at=utc_now(),
        updated_at=utc_now(),
        base_model=str(folder.resolve()) if folder.is_dir() else model,
        finetuning_type=str(values.get(METHOD_KEY, DEFAULT_METHOD)),
        stage=str(values.get("stage", DEFAULT_STAGE)),
        template=values.get("template"),
        datasets=split_names(values.get("dataset")),
        dataset_dir=values.get("dataset_dir"),
        quantization_bit=bit,
        quantization_method=str(values.get("quantization_method", DEFAULT_QUANTIZATION)) if bit else None,
        trust_remote_code=bool(values.get("trust_remote_code", False)),
        device=str(job.hardware.kind),
        launcher=job.trained_by,
        zero_stage=job.rendered.zero_stage,
        world_size=job.rendered.world_size,
        nodes=job.launch.nodes.count,
        micro_batch_size=batch.micro_batch if batch else 1,
        gradient_accumulation_steps=batch.accumulation if batch else 1,
        versions=versions,
    )
