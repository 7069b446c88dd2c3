"""Trackers get the run's name, keep their files with the run, and their links are found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.trackers import chosen_trackers, find_trackers, tracker_environment, tracker_values


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "20261122T010203Z-law-0a1b2c3d")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ()),
        ({"report_to": "none"}, ()),
        ({"report_to": ["none"]}, ()),
        ({"report_to": "wandb"}, ("wandb",)),
        ({"report_to": ["tensorboard", "neptune"]}, ("tensorboard", "neptune")),
        ({"report_to": "none", "use_swanlab": True}, ("swanlab",)),
        ({"report_to": "swanlab", "use_swanlab": True}, ("swanlab",)),
        ({"report_to": "all"}, ("tensorboard", "wandb", "swanlab", "mlflow", "trackio")),
    ],
)
def test_which_trackers(values, names):
    assert chosen_trackers(values) == names


def test_the_runs_name_is_theirs_unless_the_recipe_has_one(paths):
    assert tracker_values({"report_to": "none"}, paths) == {}
    assert tracker_values({"report_to": "wandb"}, paths)["run_name"][0] == paths.name
    assert tracker_values({"report_to": "wandb", "run_name": "mine"}, paths) == {}
    swanlab = tracker_values({"use_swanlab": True}, paths)
    assert {key: value for key, (value, _) in swanlab.items()} == {
        "run_name": paths.name,
        "swanlab_run_name": paths.name,
        "swanlab_logdir": str(paths.root / "trackers/swanlab"),
    }


def test_variables_keep_files_with_the_run_and_a_resume_in_the_same_run(paths):
    added = tracker_environment({"report_to": ["wandb", "tensorboard", "mlflow"]}, paths, {"WANDB_DIR": "/mine"})
    assert added == {
        "TENSORBOARD_LOGGING_DIR": str(paths.root / "trackers/tensorboard"),
        "WANDB_RUN_ID": paths.name,
        "WANDB_RESUME": "allow",
        "WANDB_NOTES": str(paths.root),
        "MLFLOW_TAGS": json.dumps({"lfwrap.run": str(paths.root)}, separators=(",", ":")),
    }
    assert tracker_environment({"report_to": "none"}, paths, {}) == {}
    assert tracker_environment({"use_swanlab": True}, paths, {"SWANLAB_LOG_DIR": "/mine"}) == {
        "LFWRAP_SWANLAB": "1",
        "SWANLAB_RUN_ID": paths.name,
        "SWANLAB_RESUME": "allow",
    }


def test_links_are_those_that_the_trackers_print(paths):
    attempt = paths.attempt(0)
    attempt.root.mkdir(parents=True)
    attempt.stderr.write_text(
        "wandb: View run at https://wandb.ai/me/llamafactory/runs/abc\n"
        "wandb: 🚀 View run law at: \x1b[34mhttps://wandb.ai/me/llamafactory/runs/law\x1b[0m\n"
        "🏃 View run law at: http://127.0.0.1:5000/#/experiments/0/runs/f00\n",
        encoding="utf-8",
    )
    attempt.stdout.write_text("swanlab: 🚀 View run at https://swanlab.cn/@me/p/runs/1/chart\n", encoding="utf-8")
    (paths.trackers / "tensorboard").mkdir(parents=True)
    found = find_trackers({"report_to": ["wandb", "swanlab", "mlflow", "tensorboard"], "run_name": "law"}, paths)
    assert {each["tracker"]: each["link"] or each["path"] for each in found} == {
        "wandb": "https://wandb.ai/me/llamafactory/runs/law",
        "swanlab": "https://swanlab.cn/@me/p/runs/1/chart",
        "mlflow": "http://127.0.0.1:5000/#/experiments/0/runs/f00",
        "tensorboard": str(paths.root / "trackers/tensorboard"),
    }
    assert {each["name"] for each in found} == {"law"}


def test_a_tracker_without_a_trace_has_only_its_name(paths):
    assert find_trackers({"report_to": "wandb"}, paths) == [
        {"tracker": "wandb", "name": paths.name, "link": None, "path": None}
    ]
