"""The model to ask or to export: a run, checkpoint, adapter or whole model, resolved to all the engine needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.engine.model_template import check_template, find_model_template
from lfwrap.errors import PreflightError, RunStateError, UsageError
from lfwrap.model.folder import (
    ADAPTER_CONFIG,
    AdapterFolder,
    FolderKind,
    ModelFolder,
    folder_kind,
    is_adapter,
    is_checkpoint,
    read_json_object,
)
from lfwrap.model.hf_config import has_hub_form
from lfwrap.model.training_note import CARRIED_KEYS, QUANTIZATION_KEYS, read_note
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import DEFAULT_RUNS_DIR, Run, RunState, is_run_folder, load_run
from lfwrap.yaml_files import load_yaml

_MISSING = {
    "config.json": "config.json",
    "weights": "weights (*.safetensors)",
    "tokenizer": "a tokenizer (tokenizer.json)",
}
_NOTES = ("export.json", "lfwrap-checkpoint.json")
_RUN_LEVELS = 3  # RUN/output/checkpoint-N


class TargetKind(StrEnum):
    """The kind of thing that was named as a model."""

    RUN = "run"
    CHECKPOINT = "checkpoint"
    ADAPTER = "adapter"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Target:
    """A model that can answer.

    Attributes:
        name: as the user named it.
        kind: what it is.
        model: the base model, or the whole model: a folder or a hub id.
        adapter: the adapter's folder; None for a whole model.
        template: the engine's template, that of the training where it is known.
        options: further keys of the training that the engine needs to load it.
        quantization: how the base was quantised while training; empty when it was not.
        prior_adapters: adapters that were folded into the base before this one was trained.
        run: the name of the run it came from, where there is one.
        stated_base: the base that the adapter itself names.
    """

    name: str
    kind: TargetKind
    model: str
    adapter: Path | None
    template: str
    options: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    prior_adapters: tuple[str, ...] = ()
    run: str | None = None
    stated_base: str | None = None

    @property
    def model_is_local(self) -> bool:
        """Whether the base model lies in a folder, so that nothing is to be fetched."""
        return Path(self.model).is_dir()

    @property
    def base(self) -> ModelFolder | None:
        """The folder of the base or whole model, in the hub's cache too; None where it is not on this machine."""
        return ModelFolder.find(self.model)

    @property
    def adapter_folder(self) -> AdapterFolder | None:
        """The adapter's folder as such; None for a whole model."""
        return AdapterFolder(self.adapter) if self.adapter else None

    @property
    def adapters(self) -> tuple[str, ...]:
        """All adapters in the order in which they stand on the base: those below, then the target's."""
        return (*self.prior_adapters, *([str(self.adapter)] if self.adapter else []))

    def engine_arguments(self, *, quantized: bool = True, adapters: Sequence[str] | None = None) -> dict[str, Any]:
        """The engine's keys that load the model.

        Args:
            quantized: load the base in the few bits that it was trained in, where it was.
            adapters: what the engine loads onto the base: by default only the adapters below the target's, which a
                worker then attaches; `adapters` for all of them, ``()`` for the base alone.
        """
        arguments: dict[str, Any] = {
            "model_name_or_path": self.model,
            "template": self.template,
            "finetuning_type": "lora",
            **self.options,
        }
        if quantized:
            arguments |= self.quantization
        named = self.prior_adapters if adapters is None else adapters
        if named:
            arguments["adapter_name_or_path"] = ",".join(named)
        return arguments

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json`` and ``export.json``."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "base_model": self.model,
            "adapter": str(self.adapter) if self.adapter else None,
            "template": self.template,
            "run": self.run,
            "quantization": dict(self.quantization) or None,
        }


@dataclass(frozen=True, slots=True)
class _Options:
    """The user's options, and the engine's facts that they are checked against."""

    facts: EngineFacts
    base_model: str | None
    template: str | None


def resolve_target(
    name: str,
    facts: EngineFacts,
    *,
    runs_dir: Path = DEFAULT_RUNS_DIR,
    base_model: str | None = None,
    template: str | None = None,
) -> Target:
    """Find out what ``name`` is: a run (folder or name), a checkpoint, an adapter, or a model (folder or hub id).

    Args:
        name: what the user typed.
        facts: the engine's templates, and which model wants which.
        runs_dir: where runs are looked for by name.
        base_model: use this base instead of the one that the adapter names.
        template: use this template instead of the one of the training.

    Raises:
        RunStateError: no such run, or it has not finished.
        PreflightError: a folder is incomplete, or the base model is not where the adapter says.
        UsageError: the template is not known from anywhere, or there is no template of that name.
    """
    if template is not None:
        check_template(template, facts)
    options = _Options(facts, base_model, template)
    folder = Path(name).expanduser()
    if is_run_folder(folder) or not folder.exists():
        if _is_hub_id(name, runs_dir):
            return _whole_model(name, name, options)
        return _run_target(name, load_run(name, runs_dir), options)
    if not folder.is_dir():
        raise PreflightError(f"{folder}: a file", hint="Name a run, or the folder of a checkpoint, adapter or model.")
    folder = folder.resolve()
    match folder_kind(folder):
        case FolderKind.ADAPTER:
            return _adapter_target(name, folder, options)
        case FolderKind.MODEL:
            return _whole_model(name, str(folder), options)
    raise PreflightError(
        f"{folder}: neither a run, nor an adapter, nor a model: no record.json, {ADAPTER_CONFIG} or config.json",
        hint="`lfwrap runs list` names the runs; a checkpoint lies in RUN/output/checkpoint-N.",
    )


def check_base(target: Target) -> None:
    """See that a local base model is there and whole.

    Raises:
        PreflightError: no folder, no config.json, no weights, or no tokenizer; the message says which.
    """
    folder = Path(target.model).expanduser()
    if has_hub_form(target.model) and not folder.exists():
        return  # a hub id: the engine fetches it
    if not folder.is_dir():
        raise PreflightError(
            f"{folder}: the base model of {target.name} is not there",
            hint="If it has moved, say where it is now: --base-model DIR.",
        )
    base = ModelFolder(folder)
    problems = [f"{_MISSING[part]} missing" for part in base.lacking()] or base.weight_problems()
    if problems:
        raise PreflightError(f"{folder}: not a whole model: {'; '.join(problems)}", hint="Fetch or export it again.")


def _is_hub_id(name: str, runs_dir: Path) -> bool:
    return has_hub_form(name) and not Path(name).parent.is_dir() and not (runs_dir / name).exists()


def _run_target(name: str, run: Run, options: _Options) -> Target:
    if run.record.state is not RunState.SUCCEEDED:
        raise _unfinished(run)
    target = _trained(run, run.paths.output, TargetKind.RUN, options)
    return replace(target, name=name)


def _unfinished(run: Run) -> RunStateError:
    checkpoints = run.paths.checkpoints()
    done = f" at step {run.record.global_step} of {run.record.max_steps}" if run.record.max_steps else ""
    hint = f"Its last checkpoint can be used: {checkpoints[0]}." if checkpoints else "It has no checkpoint."
    return RunStateError(
        f"{run.paths.root}: the run is {run.record.state}{done}: it has no finished result",
        hint=f"{hint} `lfwrap runs show {run.paths.name}` says more.",
    )


def _trained(run: Run, folder: Path, kind: TargetKind, options: _Options) -> Target:
    """The result in ``folder``, with the settings of the run that made it."""
    settings = load_yaml(run.paths.engine_yaml).values if run.paths.engine_yaml.is_file() else {}
    adapter = AdapterFolder(folder) if is_adapter(folder) else None
    stated = adapter.base_model() if adapter else None
    model = _located(options.base_model or run.record.base_model) if adapter else str(folder)
    target = Target(
        name=str(folder),
        kind=kind,
        model=model,
        adapter=folder if adapter else None,
        template=options.template or run.record.template or "",
        **_loading(settings, has_adapter=adapter is not None),
        run=run.paths.name,
        stated_base=stated or run.record.base_model,
    )
    _check_result(target, folder)
    return target if target.template else replace(target, template=_template_of(model, options))


def _loading(settings: Mapping[str, Any], *, has_adapter: bool) -> dict[str, Any]:
    """What a training's settings say of how its result is loaded: fields of a target."""
    return {
        "options": {key: settings[key] for key in CARRIED_KEYS if settings.get(key) is not None},
        "quantization": {key: settings[key] for key in QUANTIZATION_KEYS if settings.get(key) is not None},
        "prior_adapters": _prior_adapters(settings) if has_adapter else (),
    }


def _prior_adapters(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Adapters under a new one; without ``create_new_adapter`` the last one was trained further and is the result."""
    named = settings.get("adapter_name_or_path")
    paths = tuple(str(named).split(",")) if isinstance(named, str) else tuple(named or ())
    return paths if settings.get("create_new_adapter") else paths[:-1]


def _check_result(target: Target, folder: Path) -> None:
    problems = target.adapter_folder.weight_problems() if target.adapter_folder else []
    if problems:
        raise PreflightError(
            f"{folder}: an incomplete adapter: {'; '.join(problems)}",
            hint="The save or the copy was interrupted: use the checkpoint before it, or copy again.",
        )
    if target.adapter is None and folder_kind(folder) is not FolderKind.MODEL:
        raise PreflightError(
            f"{folder}: holds neither an adapter nor a model", hint="Train again, or name a checkpoint of the run."
        )
    check_base(target)


def _adapter_target(name: str, folder: Path, options: _Options) -> Target:
    kind = TargetKind.CHECKPOINT if is_checkpoint(folder) else TargetKind.ADAPTER
    run = _run_of(folder)
    if run is not None:
        return replace(_trained(run, folder, kind, options), name=name)
    adapter = AdapterFolder(folder)
    stated = adapter.base_model()
    model = options.base_model or stated
    if not model:
        raise PreflightError(f"{adapter.config_file}: does not name its base model", hint="Name it: --base-model DIR.")
    model = _located(model)
    noted = _loading(read_note(folder), has_adapter=True)
    target = Target(name, kind, model, folder, options.template or "", stated_base=stated, **noted)
    _check_result(target, folder)
    return replace(target, template=_template_of(model, options, folder))


def _located(model: str) -> str:
    """A folder's absolute path, since children work in other folders; a hub id unchanged."""
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


def _run_of(folder: Path) -> Run | None:
    for parent in (folder, *folder.parents)[: _RUN_LEVELS + 1]:
        paths = RunPaths(parent)
        if paths.record.is_file() and folder.is_relative_to(paths.output):
            return load_run(parent)
    return None


def _whole_model(name: str, model: str, options: _Options) -> Target:
    folder = Path(model)
    if folder.is_dir():
        run = _run_of(folder)
        if run is not None:
            kind = TargetKind.CHECKPOINT if is_checkpoint(folder) else TargetKind.MODEL
            return replace(_trained(run, folder, kind, options), name=name)
    noted = _loading(read_note(folder), has_adapter=False)
    target = Target(name, TargetKind.MODEL, model, None, options.template or "", **noted)
    check_base(target)
    return replace(target, template=_template_of(model, options))


def _template_of(model: str, options: _Options, *folders: Path) -> str:
    """The template of a model, or of a result of it in a folder."""
    noted = (template for folder in (*folders, Path(model)) for template in _noted_templates(folder))
    found = find_model_template(_names(model), options.facts, stated=options.template, noted=noted)
    if found is None:
        raise UsageError(
            f"{model}: which of the engine's templates it was trained with is not known",
            hint="Name it: --template NAME; `lfwrap recipe schema` lists all templates.",
        )
    return found.name


def _noted_templates(folder: Path) -> Iterator[object]:
    """What lfwrap wrote down in a folder, by its training, its export or its making of a checkpoint."""
    yield read_note(folder).get("template")
    for path in (folder / note for note in _NOTES):
        if path.is_file():
            yield read_json_object(path).get("template")


def _names(model: str) -> Iterator[str]:
    """A model's name, and the one that its configuration records."""
    yield model
    base = ModelFolder.find(model)
    recorded = base.config().get("_name_or_path") if base else None
    if isinstance(recorded, str):
        yield recorded
