"""Trackers that could not start are named before the engine is: package, spelling, login."""

from __future__ import annotations

import json
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine

from lfwrap.engine.locate import Engine
from lfwrap.errors import Finding, Severity
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.recipe import load_recipe
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.trackers import check_trackers


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    for package in ("llamafactory", "transformers"):
        (tmp_path / "site" / package).mkdir(parents=True)
    return fake_engine(package=tmp_path / "site" / "llamafactory")


def install(engine: Engine, *names: str) -> None:
    for name in names:
        folder = engine.site_packages / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        assert PathDistribution(folder).version == "1.0"


def check(
    engine: Engine, environ: dict[str, str] | None = None, *, is_dry: bool = False, **values: Any
) -> list[Finding]:
    folder = engine.site_packages.parent
    text = "stage: sft\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    context = PreflightContext(
        recipe=load_recipe(folder / "r.yaml", (), {}),
        values=values,
        hardware=load_hardware("cpu"),
        runs_dir=folder / "runs",
        cwd=folder,
        engine=engine,
        is_dry=is_dry,
        environ={"HOME": str(folder / "home"), **(environ or {})},
    )
    return list(check_trackers(context, engine))


@pytest.mark.parametrize("report_to", ["none", ["none"], "all", ["all"]])
def test_no_tracker_needs_nothing_and_all_takes_what_is_there(engine: Engine, report_to: Any) -> None:
    assert check(engine, report_to=report_to) == []


@pytest.mark.parametrize(
    ("values", "packages"),
    [
        ({"report_to": "tensorboard"}, ["tensorboard"]),
        ({"report_to": ["wandb", "mlflow", "trackio"]}, ["wandb", "mlflow", "trackio"]),
        ({"report_to": "comet_ml"}, ["comet-ml"]),
        ({"report_to": "dagshub"}, ["dagshub", "mlflow"]),
        ({"report_to": "swanlab"}, ["swanlab"]),
        ({"use_swanlab": True}, ["swanlab"]),
        ({"use_swanlab": True, "report_to": "swanlab"}, ["swanlab"]),
    ],
)
def test_a_missing_package_is_an_error_with_its_place_and_remedy(
    engine: Engine, values: dict[str, Any], packages: list[str]
) -> None:
    found = check(engine, **values)
    assert [finding.hint for finding in found] == [f"/e/bin/python -m pip install {package}" for package in packages]
    assert {(finding.rule, finding.severity, finding.line) for finding in found} == {
        ("missing-package", Severity.ERROR, 1 + max(list(values).index(key) + 1 for key in values if key in str(found)))
    }


def test_a_dry_run_only_warns_as_it_may_be_for_another_machine(engine: Engine) -> None:
    (finding,) = check(engine, is_dry=True, report_to="tensorboard")
    assert (finding.rule, finding.severity) == ("missing-package", Severity.WARNING)


def test_one_of_two_packages_is_enough(engine: Engine) -> None:
    install(engine, "tensorboardX", "mlflow-skinny")
    assert check(engine, report_to=["tensorboard", "mlflow"]) == []


def test_a_tracker_that_nobody_knows(engine: Engine) -> None:
    (finding,) = check(engine, report_to="tensorbord")
    assert (finding.rule, finding.severity) == ("unknown-tracker", Severity.ERROR)
    assert finding.hint == "Did you mean 'tensorboard'?"


@pytest.mark.parametrize(
    ("values", "environ", "home", "is_fine"),
    [
        ({"report_to": "wandb"}, {}, {}, False),
        ({"report_to": "wandb"}, {}, {".netrc": "machine other.org login user"}, False),
        ({"report_to": "wandb"}, {}, {".netrc": "machine api.wandb.ai login user"}, True),
        ({"report_to": "wandb"}, {"WANDB_BASE_URL": "https://w.firm.org"}, {".netrc": "machine w.firm.org"}, True),
        ({"report_to": "wandb"}, {"WANDB_API_KEY": "k"}, {}, True),
        ({"report_to": "wandb"}, {"WANDB_MODE": "offline"}, {}, True),
        ({"report_to": "swanlab"}, {}, {}, False),
        ({"use_swanlab": True}, {}, {}, False),
        ({"use_swanlab": True, "swanlab_mode": "cloud"}, {"SWANLAB_MODE": "local"}, {}, False),
        ({"use_swanlab": True, "swanlab_mode": "local"}, {}, {}, True),
        ({"report_to": "swanlab"}, {"SWANLAB_MODE": "offline"}, {}, True),
        ({"report_to": "swanlab"}, {"SWANLAB_API_KEY": "k"}, {}, True),
        ({"report_to": "swanlab"}, {}, {".swanlab/.netrc": "machine api.swanlab.cn"}, True),
    ],
)
def test_a_login_that_can_not_be_asked_for_is_warned_of(
    engine: Engine, values: dict[str, Any], environ: dict[str, str], home: dict[str, str], is_fine: bool
) -> None:
    install(engine, "wandb", "swanlab", "swanboard")
    for name, text in home.items():
        path = engine.site_packages.parent / "home" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    found = check(engine, environ, **values)
    assert [(finding.rule, finding.severity) for finding in found] == (
        [] if is_fine else [("tracker-login", Severity.WARNING)]
    )


def test_swanlabs_local_mode_wants_its_board(engine: Engine) -> None:
    install(engine, "swanlab")
    (finding,) = check(engine, use_swanlab=True, swanlab_mode="local")
    assert (finding.rule, finding.severity) == ("missing-package", Severity.WARNING)
    assert "'swanlab[dashboard]'" in finding.hint
