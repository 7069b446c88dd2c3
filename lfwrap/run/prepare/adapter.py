"""Train on from an adapter's weights, as a new run: which folder that is, and whether the recipe agrees with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.keys import MODEL_KEY
from lfwrap.errors import Finding, PreflightError, RecipeError, RunStateError
from lfwrap.model.fingerprint import describe_model
from lfwrap.model.folder import AdapterFolder, is_adapter
from lfwrap.model.hf_config import load_model_facts
from lfwrap.recipe.keys import place
from lfwrap.recipe.recipe import Recipe, split_names
from lfwrap.run.folder.checkpoints import step_of
from lfwrap.run.folder.record import Run, RunState, load_run
from lfwrap.run.launch.command import override_arguments

_ALPHA_TO_RANK = 2  # the engine's alpha where the recipe names none


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter to go on from.

    Attributes:
        folder: holds its weights and ``adapter_config.json``.
        config: that file.
        base_model: hub id or folder of the model it belongs to.
        run: the run it comes from, if it was named so.
    """

    folder: Path
    config: Mapping[str, Any]
    base_model: str
    run: Run | None = None

    @property
    def name(self) -> str:
        """For messages: the run and the step, or the folder."""
        if self.run is None:
            return str(self.folder)
        step = step_of(self.folder)
        return f"{self.run.paths.name}, step {self.run.record.global_step if step is None else step}"


def find_adapter(name: str, runs_dir: Path) -> AdapterSource:
    """The adapter of a run (its result, else its newest whole checkpoint), or that of a folder.

    Raises:
        RunStateError: no such run or folder, it still trains, it trains no LoRA adapter, or has no whole one.
    """
    folder = Path(name).expanduser()
    if is_adapter(folder):
        return _read(folder.resolve(), None)
    run = load_run(name, runs_dir)
    if run.record.finetuning_type != "lora":
        raise RunStateError(
            f"{run.paths.name}: trains no LoRA adapter (finetuning_type: {run.record.finetuning_type})",
            hint="To go on from a fully tuned model, name its folder: model_name_or_path=RUN/output.",
        )
    if run.record.state is RunState.RUNNING:
        raise RunStateError(
            f"{run.paths.name}: still trains, and deletes old checkpoints",
            hint="Stop it with `lfwrap runs stop`, or copy a checkpoint and name the copy.",
        )
    finished = [run.paths.output] if run.record.is_finished else []
    for candidate in (*finished, *run.paths.checkpoints()):
        if not AdapterFolder(candidate).problems():
            return _read(candidate, run)
    raise RunStateError(
        f"{run.paths.name}: no whole adapter in {run.paths.output}", hint="Start a new run without an adapter."
    )


def _read(folder: Path, run: Run | None) -> AdapterSource:
    adapter = AdapterFolder(folder)
    problems = adapter.weight_problems()
    try:
        config = adapter.config()
        base = run.record.base_model if run else str(config["base_model_name_or_path"])
        int(config["r"])
    except (PreflightError, ValueError, KeyError, TypeError):
        config, base = {}, ""
        problems.append(f"{adapter.config_file.name} is not that of a LoRA adapter")
    if problems:
        raise RunStateError(f"{folder}: {'; '.join(problems)}", hint="Name another checkpoint, or the run.")
    return AdapterSource(folder, config, base, run)


def adapter_overrides(source: AdapterSource, recipe: Recipe, cwd: Path) -> tuple[str, ...]:
    """The ``key=value`` texts by which a recipe trains on from an adapter.

    What the recipe leaves open is taken from the adapter, so that the record says what is trained: the engine takes
    rank, targets and scale from the adapter's file, whatever its YAML says.

    Raises:
        RecipeError: the recipe says something else than the adapter; every difference is a finding.
    """
    own = _adapter_values(source)
    findings = list(_differences(source, recipe, own, cwd))
    if findings:
        raise RecipeError(
            f"{recipe.path}: does not fit the adapter of {source.name}",
            hint="Take these keys out of the recipe or give the adapter's, or train a new adapter.",
            findings=findings,
        )
    missing = {key: value for key, value in own.items() if recipe.engine_values.get(key) is None}
    if recipe.model is None:
        missing[MODEL_KEY] = source.base_model
    chosen = {"adapter_name_or_path": source.folder, "create_new_adapter": False}
    return tuple(override_arguments({**missing, **chosen}))


def _adapter_values(source: AdapterSource) -> dict[str, Any]:
    """The engine's keys as the adapter's own file has them."""
    config = source.config
    values: dict[str, Any] = {
        "finetuning_type": "lora",
        "lora_rank": config["r"],
        "lora_alpha": config.get("lora_alpha", _ALPHA_TO_RANK * config["r"]),
        "lora_dropout": config.get("lora_dropout", 0.0),
    }
    values |= {key: True for key in ("use_dora", "use_rslora") if config.get(key)}
    targets = config.get("target_modules")
    if isinstance(targets, list):
        values["lora_target"] = ",".join(sorted(targets))
    return values


def _differences(source: AdapterSource, recipe: Recipe, own: Mapping[str, Any], cwd: Path) -> Iterator[Finding]:
    given = recipe.engine_values
    for key, value in own.items():
        wanted = given.get(key)
        if wanted is not None and key != "lora_target" and wanted != value:
            yield _finding(recipe, key, f"{wanted}, but the adapter has {value}.")
    for key in ("use_dora", "use_rslora"):
        if given.get(key) and key not in own:
            yield _finding(recipe, key, "true, but the adapter was trained without.")
    if "lora_target" in own and not _has_targets(recipe, source, set(split_names(own["lora_target"]))):
        yield _finding(recipe, "lora_target", f"{given['lora_target']}, but the adapter has {own['lora_target']}.")
    if recipe.model is not None and not _same_model(recipe.model, source.base_model, cwd):
        yield _finding(recipe, MODEL_KEY, f"{recipe.model}, but the adapter belongs to {source.base_model}.")


def _finding(recipe: Recipe, key: str, message: str) -> Finding:
    return Finding("adapter-differs", f"{key}: {message}", **place(recipe, key, of_value=True))


def _has_targets(recipe: Recipe, source: AdapterSource, own: set[str]) -> bool:
    """Whether the adapter stands on the layers that the recipe names; ``all`` are those known of the model."""
    names = set(split_names(recipe.engine_values.get("lora_target")))
    if names != {"all"}:
        return not names or names == own
    facts = load_model_facts(source.base_model)
    return facts is None or {linear.name for linear in facts.linears} <= own


def _same_model(wanted: str, base: str, cwd: Path) -> bool:
    """Whether two names mean the same model: the same id or folder, or folders with the same files."""
    if wanted == base:
        return True
    first, second = cwd / Path(wanted).expanduser(), cwd / Path(base).expanduser()
    if not (first.is_dir() and second.is_dir()):
        return False
    return first.resolve() == second.resolve() or _content(first) == _content(second)


def _content(folder: Path) -> dict[str, dict[str, Any]]:
    described = describe_model(folder, "")
    return {what: {key: value for key, value in entry.items() if key != "path"} for what, entry in described.items()}
