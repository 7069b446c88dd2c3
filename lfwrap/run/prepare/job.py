"""From a recipe and a machine to everything a run consists of, before anything is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lfwrap.engine.facts import EngineFacts, load_engine_facts
from lfwrap.engine.keys import COMPILE_KEY, DEFAULT_METHOD, METHOD_KEY
from lfwrap.engine.locate import Engine, locate_engine, package_version
from lfwrap.errors import Finding, PreflightError, Severity
from lfwrap.files import canonical_json
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import HardwareProfile, choose_world_size
from lfwrap.invocation import Invocation
from lfwrap.plan.request import Setting
from lfwrap.plan.schedule import Schedule
from lfwrap.recipe.check import check_recipe
from lfwrap.recipe.inputs.data_size import settle_size
from lfwrap.recipe.inputs.datasets import DatasetDir, find_dataset_dir
from lfwrap.recipe.keys import of_right_types
from lfwrap.recipe.recipe import Recipe, load_recipe
from lfwrap.recipe.values import ResolvedValues, resolve_values
from lfwrap.run.folder.paths import RunPaths, run_name
from lfwrap.run.folder.record import DEFAULT_RUNS_DIR
from lfwrap.run.launch.build import build_command
from lfwrap.run.launch.checks import check_launch, require_exact_batches, require_nodes
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launch import LaunchOptions, TrainingStart, count_processes
from lfwrap.run.launch.launchers.base import Launcher
from lfwrap.run.launch.launchers.registry import choose_launcher
from lfwrap.run.launch.trackers import tracker_values
from lfwrap.run.preflight.context import PreflightContext, PreflightReport
from lfwrap.run.preflight.preflight import check_preflight
from lfwrap.run.preflight.schedule import check_schedule
from lfwrap.run.prepare.evaluation import Evaluation, choose_evaluation
from lfwrap.strategy.foretell import foretell_schedule
from lfwrap.strategy.planning import Machine, find_machine
from lfwrap.strategy.render import Rendered, render
from lfwrap.strategy.strategy import Strategy, choose_strategy, written_strategy
from lfwrap.yaml_files import dump_yaml

# What supervision and resuming need, where the recipe says nothing about it.
_RUN_DEFAULTS: dict[str, Setting] = {
    "logging_steps": Setting(1, "Each update is logged, for progress and curves."),
    "include_num_input_tokens_seen": Setting(True, "Tokens a second are logged."),
    "enable_jit_checkpoint": Setting(True, "Started by hand, too, a stopped run leaves a checkpoint."),
    "disable_tqdm": Setting(True, "lfwrap shows the progress; bars would fill the log."),
    "report_to": Setting("none", "No tracker unless the recipe asks for one."),
    "save_total_limit": Setting(2, "The last two checkpoints are kept."),
}
_SAVING_KEYS = frozenset({"save_steps", "save_strategy"})
_ADAPTER_METHODS = frozenset({"lora", "oft"})


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What the person asked for.

    Attributes:
        recipe: path or bundled name of the recipe.
        overrides: ``key=value`` texts.
        runs_dir: the folder that holds runs.
        name: the run's name instead of the recipe's.
        hardware: ``auto``, a catalogue name or a profile file.
        gpus: processes to train with on each node; None takes all GPUs.
        launcher: ``auto`` or a launcher's name.
        launch: the nodes, and the options of a scheduler.
        force: train what would learn nothing, and a large model on a CPU, all the same.
        is_dry: only show what would be run.
        use_lock: take what `lfwrap tune` has measured, where it holds.
        evaluates: evaluate on the rows that were kept back, where the recipe says nothing about it.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    runs_dir: Path = DEFAULT_RUNS_DIR
    name: str | None = None
    hardware: str = "auto"
    gpus: int | None = None
    launcher: str = "auto"
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    force: bool = False
    is_dry: bool = False
    use_lock: bool = True
    evaluates: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """A run that could be started.

    Attributes:
        recipe: the recipe with its overrides.
        rendered: the engine's YAML and the DeepSpeed configuration.
        paths: the run's folder, which need not exist yet.
        command: what is started.
        hardware: the machine.
        launcher: the way of starting.
        report: all that preflight found.
        engine: the engine; None when none was found: the job is only shown.
        strategy: how the recipe is run here.
        schedule: its updates and their learning rates; None where they are not known.
        launch: the nodes, and the options of a scheduler.
    """

    recipe: Recipe
    rendered: Rendered
    paths: RunPaths
    command: Command
    hardware: HardwareProfile
    launcher: Launcher
    report: PreflightReport
    engine: Engine | None
    strategy: Strategy
    schedule: Schedule | None = None
    launch: LaunchOptions = field(default_factory=LaunchOptions)

    @property
    def trained_by(self) -> str:
        """The launcher that starts the processes: the chosen one, or the one that a scheduled job will take."""
        if not self.launcher.is_scheduler:
            return self.launcher.name
        uses_deepspeed = self.rendered.deepspeed is not None
        return choose_launcher("auto", world_size=self.rendered.world_size, uses_deepspeed=uses_deepspeed).name

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know of the rendered files and of the strategy."""
        return (*self.rendered.notes, *self.strategy.notes)

    @property
    def recipe_yaml(self) -> str:
        """The recipe as it was resolved."""
        return dump_yaml(self.recipe.resolved)


def propose_name(recipe: Recipe, request: TrainRequest, now: datetime) -> str:
    """The run's name; equal recipes share its last eight digits."""
    return run_name(request.name or recipe.name, canonical_json(recipe.resolved), now)


@dataclass(frozen=True, slots=True)
class _Survey:
    """The recipe and the machine of a job, as far as both are known before a strategy is chosen.

    Attributes:
        request: what the person asked for.
        recipe: the recipe.
        invocation: where it is prepared.
        missing: the finding that the engine is missing.
        facts: the engine's keys.
        node_processes: processes on each node.
        data: where the data sets are registered.
        machine: what the recipe is planned for, with its engine; its world size counts all nodes.
    """

    request: TrainRequest
    recipe: Recipe
    invocation: Invocation
    missing: tuple[Finding, ...]
    facts: EngineFacts
    node_processes: int
    data: DatasetDir
    machine: Machine


def _survey(request: TrainRequest, recipe: Recipe, invocation: Invocation) -> _Survey:
    engine, missing = _find_engine(invocation.environ)
    hardware = load_hardware(request.hardware)
    node_processes = choose_world_size(request.gpus, hardware)
    data = find_dataset_dir(recipe, invocation.cwd)
    is_elsewhere = request.is_dry and request.hardware != "auto"  # where nothing is known to be missing
    machine = find_machine(
        hardware,
        count_processes(node_processes, request.launch.nodes),
        engine,
        Path(data.path) if data.path else None,
        is_here=not is_elsewhere,
    )
    if request.launch.by_engine:  # layers are compiled one by one by lfwrap's own start of the engine alone
        machine = dataclasses.replace(machine, unavailable=machine.unavailable | {COMPILE_KEY})
    return _Survey(request, recipe, invocation, missing, load_engine_facts(engine), node_processes, data, machine)


def preview_job(request: TrainRequest, invocation: Invocation) -> Job:
    """What would be run, with the folder it would get; writes nothing.

    Raises:
        LfwrapError: the recipe can't be read, an option makes no sense, or the effective batch can't be made.
    """
    recipe = load_request(request, invocation)
    name = propose_name(recipe, request, invocation.now)
    return prepare_job(request, recipe, runs_folder(request, invocation) / name, invocation)


def runs_folder(request: TrainRequest, invocation: Invocation) -> Path:
    """The folder of runs that was asked for, absolute."""
    return (invocation.cwd / request.runs_dir.expanduser()).resolve()


def prepare_job(
    request: TrainRequest, recipe: Recipe, root: Path, invocation: Invocation, strategy: Strategy | None = None
) -> Job:
    """Render the recipe for the machine and check everything; writes nothing, starts nothing.

    Args:
        request: what the person asked for.
        recipe: the recipe.
        root: the folder that the run would get.
        invocation: where it is prepared.
        strategy: how to run it; None takes the lock's way or the plan's.

    Raises:
        UsageError: an option makes no sense.
        PlanError: the effective batch can't be made, or nothing fits the GPUs.
    """
    survey, paths = _survey(request, recipe, invocation), RunPaths(root)
    machine = survey.machine
    found = check_recipe(recipe, survey.facts, machine.hardware)
    recipe = of_right_types(recipe, survey.facts)
    survey = dataclasses.replace(survey, recipe=recipe)
    values = resolve_values(recipe, survey.facts, machine.hardware, machine.world_size)
    chosen = strategy or _choose_strategy(survey, values, found)
    rendered = _render(survey, values, chosen, paths)
    options = dataclasses.replace(request.launch, extended=chosen.extension, compiled=rendered.compiled)
    launcher = _choose_launcher(request, rendered, survey.node_processes)
    schedule = None
    if not _has_errors(found):
        schedule = foretell_schedule(recipe, rendered.engine, rendered.batch, chosen, machine.dataset_dir)
        found += check_schedule(schedule, recipe, force=request.force)
    report = dataclasses.replace(_check_job(survey, rendered, launcher, options), recipe=tuple(found))
    start = TrainingStart(
        paths=paths,
        launcher=launcher,
        engine=machine.engine,
        hardware=machine.hardware,
        world_size=rendered.world_size,
        batch=rendered.batch,
        options=options,
        values=rendered.engine,
    )
    command = build_command(start, invocation)
    return Job(
        recipe, rendered, paths, command, machine.hardware, launcher, report, machine.engine, chosen, schedule, options
    )


def _choose_strategy(survey: _Survey, values: ResolvedValues, found: list[Finding]) -> Strategy:
    """The strategy of the recipe; one with errors is not planned: they end the command.

    Raises:
        PlanError: nothing fits the GPUs.
    """
    if _has_errors(found):
        return written_strategy(survey.recipe)
    request = survey.request
    return choose_strategy(values, survey.machine, survey.invocation, use_lock=request.use_lock, force=request.force)


def _has_errors(found: list[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in found)


def _render(survey: _Survey, values: ResolvedValues, strategy: Strategy, paths: RunPaths) -> Rendered:
    own = run_values(survey.recipe, survey.facts, survey.machine.engine)
    evaluation = _evaluation(survey, values, strategy)
    rendered = render(
        values,
        strategy,
        output_dir=str(paths.output),
        dataset_dir=survey.data.path,
        run_values={**own, **evaluation.settings, **tracker_values(survey.recipe.engine_values, paths)},
        deepspeed_path=str(paths.deepspeed),
    )
    notes = (evaluation.note,) if evaluation.note else ()
    return dataclasses.replace(rendered, notes=(*rendered.notes, *notes))


def _evaluation(survey: _Survey, values: ResolvedValues, strategy: Strategy) -> Evaluation:
    """How the training is evaluated, where the recipe leaves that open and the request wants it."""
    if not survey.request.evaluates:
        return Evaluation()
    layers = values.with_settings(strategy.settings)
    batch = values.batch_of(layers)
    return choose_evaluation(survey.recipe, layers, survey.data.path, batch.micro_batch if batch else None)


def _choose_launcher(request: TrainRequest, rendered: Rendered, node_processes: int) -> Launcher:
    """The launcher, which can start what was rendered on the nodes asked for.

    Raises:
        UsageError: it can't.
        PlanError: an elastic run could not keep its batch.
    """
    nodes = request.launch.nodes
    uses_deepspeed = bool(rendered.engine.get("deepspeed"))
    launcher = choose_launcher(
        request.launcher, world_size=rendered.world_size, uses_deepspeed=uses_deepspeed, nodes=nodes
    )
    require_nodes(nodes, launcher)
    require_exact_batches(nodes, node_processes, rendered.batch)
    return launcher


def _check_job(survey: _Survey, rendered: Rendered, launcher: Launcher, options: LaunchOptions) -> PreflightReport:
    """The preflight of data, model, machine and launcher."""
    checked = check_preflight(
        PreflightContext(
            recipe=survey.recipe,
            values=rendered.engine,
            hardware=survey.machine.hardware,
            runs_dir=survey.request.runs_dir,
            cwd=survey.invocation.cwd,
            engine=survey.machine.engine,
            splits_at_spaces=launcher.splits_at_spaces,
            world_size=survey.node_processes,
            is_dry=survey.request.is_dry or launcher.is_scheduler,
            allow_large_on_cpu=survey.request.force,
            by_engine=options.by_engine,
            environ=survey.invocation.environ,
        )
    )
    about_launch = check_launch(
        launcher,
        options,
        survey.machine.engine,
        survey.machine.hardware,
        zero_stage=rendered.zero_stage or 0,
    )
    # Where no folder registers the data sets, that is said once, and nothing can be said of their files.
    about_data = survey.data.findings if survey.data.path is None and survey.data.findings else checked.data
    return PreflightReport((), about_data, (*survey.missing, *checked.machine, *about_launch))


def load_request(request: TrainRequest, invocation: Invocation) -> Recipe:
    """The recipe of a request, its batch settled for the machine.

    Raises:
        RecipeError, UsageError: it can't be read, or an override is malformed.
        LfwrapError: its batch is ``auto``, and there is no such machine.
    """

    def processes() -> int:
        """Training processes on all nodes."""
        return count_processes(choose_world_size(request.gpus, load_hardware(request.hardware)), request.launch.nodes)

    recipe = load_recipe(request.recipe, request.overrides, invocation.environ)
    return settle_size(recipe, invocation.cwd, processes)


def _find_engine(environ: Mapping[str, str]) -> tuple[Engine | None, tuple[Finding, ...]]:
    try:
        return locate_engine(environ), ()
    except PreflightError as error:
        return None, (Finding("no-engine", error.message, hint=error.hint),)


def run_values(recipe: Recipe, facts: EngineFacts, engine: Engine | None) -> dict[str, Setting]:
    """What supervision needs, for the keys that the recipe leaves open and this engine knows."""
    given = recipe.engine_values
    values = {key: reasoned for key, reasoned in _RUN_DEFAULTS.items() if key not in given and key in facts.keys}
    if recipe.trains_unasked:
        values["do_train"] = Setting(True, "The recipe names data and leaves out what to do with them.")
    if engine is not None and "plot_loss" not in given and package_version(engine, "matplotlib"):
        values["plot_loss"] = Setting(True, "The loss curve is drawn into the output folder.")
    is_small = given.get(METHOD_KEY, DEFAULT_METHOD) in _ADAPTER_METHODS
    if is_small and not _SAVING_KEYS & set(given) and recipe.intent.checkpoint_every_epoch_frac is None:
        values["save_steps"] = Setting(0.1, "Ten checkpoints a run: an adapter's are small.")
    if given.get("overwrite_output_dir"):
        values["overwrite_output_dir"] = Setting(False, "The folder is new; a resume must not delete its log.")
    return values
