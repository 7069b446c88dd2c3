"""Experiment trackers: is their package there, and can they log in without a terminal?

The engine builds its trackers after it has loaded the model, minutes after the start; it has no terminal to ask at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import Finding, Severity
from lfwrap.run.launch.trackers import chosen_trackers
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.suggest import did_you_mean

# What transformers' callbacks import, by their names; one package of each group is enough.
_PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "azure_ml": (("azureml-core",),),
    "clearml": (("clearml",),),
    "codecarbon": (("codecarbon",),),
    "comet_ml": (("comet-ml",),),
    "dagshub": (("dagshub",), ("mlflow",)),
    "dvclive": (("dvclive",),),
    "flyte": (("flytekit",),),
    "kubeflow": (),
    "mlflow": (("mlflow", "mlflow-skinny"),),
    "neptune": (("neptune", "neptune-client"),),
    "swanlab": (("swanlab",),),
    "tensorboard": (("tensorboard", "tensorboardX"),),
    "trackio": (("trackio",),),
    "wandb": (("wandb",),),
}
_OFF = frozenset({"offline", "disabled", "dryrun", "local"})


def check_trackers(context: PreflightContext, engine: Engine) -> Iterator[Finding]:
    """Findings on every tracker that the recipe asks for; with ``all`` the engine takes those that are installed."""
    if "all" in _asked(context):
        return
    for name in chosen_trackers(context.values):
        if name not in _PACKAGES:
            yield _unknown(context, name)
            continue
        missing = [group[0] for group in _PACKAGES[name] if not any(package_version(engine, one) for one in group)]
        for package in missing:
            yield _missing(context, engine, name, package)
        if not missing:
            yield from _check_login(context, engine, name)


def _asked(context: PreflightContext) -> tuple[str, ...]:
    report_to = context.values.get("report_to")
    return tuple(report_to) if isinstance(report_to, list) else (str(report_to),)


def _key(context: PreflightContext, name: str) -> str:
    return "report_to" if name in _asked(context) else "use_swanlab"


def _unknown(context: PreflightContext, name: str) -> Finding:
    hint = did_you_mean(name, _PACKAGES, otherwise=f"It knows {', '.join(_PACKAGES)}.")
    return context.finding("unknown-tracker", "report_to", f"report_to: the engine knows no tracker {name}.", hint)


def _missing(context: PreflightContext, engine: Engine, name: str, package: str) -> Finding:
    key = _key(context, name)
    return context.finding(
        "missing-package",
        key,
        f"{key}: {name} needs the package {package}, which is not installed.",
        f"{engine.python} -m pip install {package}",
        Severity.WARNING if context.is_dry else Severity.ERROR,  # it may be there where the run will be
    )


def _check_login(context: PreflightContext, engine: Engine, name: str) -> Iterator[Finding]:
    key = _key(context, name)
    remedy = ""
    if name == "wandb" and not _wandb_can_start(context):
        remedy = "`wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline keeps the run here."
    if name == "swanlab" and not _swanlab_can_start(context):
        remedy = "`swanlab login`, or set SWANLAB_API_KEY; SWANLAB_MODE=offline (or swanlab_mode: local) keeps it here."
    if remedy:
        message = f"{key}: {name} finds no login, and the engine has no terminal to ask at."
        yield context.finding("tracker-login", key, message, remedy, Severity.WARNING)
    if name == "swanlab" and context.by_engine and not context.values.get("use_swanlab"):
        message = "report_to: SwanLab 0.8 and later does not start by transformers' own callback."
        remedy = "Write `use_swanlab: true`, or leave --engine-cli out."
        yield context.finding("tracker-by-engine", "report_to", message, remedy, Severity.WARNING)
    if name == "swanlab" and _swanlab_mode(context) == "local" and not package_version(engine, "swanboard"):
        message = f"{key}: SwanLab's local mode shows nothing without its board."
        remedy = f"{engine.python} -m pip install 'swanlab[dashboard]'"
        yield context.finding("missing-package", key, message, remedy, Severity.WARNING)


def _wandb_can_start(context: PreflightContext) -> bool:
    environ = context.environ
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_MODE", "") in _OFF or environ.get("WANDB_DISABLED"):
        return True
    host = urlsplit(environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    return any(host in _read(path) for path in (_home(context) / ".netrc", _home(context) / "_netrc"))


def _swanlab_mode(context: PreflightContext) -> str:
    own = context.values.get("swanlab_mode", "cloud") if context.values.get("use_swanlab") else None
    return str(own or context.environ.get("SWANLAB_MODE", "cloud"))


def _swanlab_can_start(context: PreflightContext) -> bool:
    environ = context.environ
    if _swanlab_mode(context) in _OFF or environ.get("SWANLAB_API_KEY") or context.values.get("swanlab_api_key"):
        return True
    root = environ.get("SWANLAB_ROOT") or environ.get("SWANLAB_SAVE_DIR") or _home(context) / ".swanlab"
    return any((Path(folder) / ".netrc").is_file() for folder in (root, context.cwd / ".swanlab"))


def _home(context: PreflightContext) -> Path:
    return Path(context.environ.get("HOME") or Path.home())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
