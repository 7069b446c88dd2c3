"""What the engine's processes find in their environment."""

from __future__ import annotations

import pytest

from lfwrap.engine import environment
from lfwrap.engine.environment import ENGINE_VARIABLES, PARALLEL_TOKENIZER, engine_environment, waiting_policy


@pytest.fixture(autouse=True)
def _fresh_look():
    environment.machine_was_busy.cache_clear()
    yield
    environment.machine_was_busy.cache_clear()


@pytest.mark.parametrize(
    ("busy", "stated", "expected"), [(True, None, "PASSIVE"), (False, None, None), (True, "ACTIVE", "ACTIVE")]
)
def test_threads_sleep_at_barriers_where_others_use_the_cores(monkeypatch, busy, stated, expected):
    environ = {"OMP_WAIT_POLICY": stated} if stated else {}
    monkeypatch.setattr(environment, "has_busy_neighbours", lambda: busy)
    still = engine_environment(model_is_local=True, runs_model=False, environ=environ)
    assert still.get("OMP_WAIT_POLICY") == stated
    assert engine_environment(model_is_local=True, environ=environ).get("OMP_WAIT_POLICY") == expected


def test_the_cores_are_looked_at_once(monkeypatch):
    looks = []
    monkeypatch.setattr(environment, "has_busy_neighbours", lambda: looks.append(1) or True)
    assert waiting_policy({}) == waiting_policy({}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert len(looks) == 1


def test_the_hub_is_left_alone_for_a_local_model_unless_asked_for():
    def offline(*, local: bool, **environ: str) -> str | None:
        return engine_environment(model_is_local=local, runs_model=False, environ=environ).get("HF_HUB_OFFLINE")

    assert offline(local=True) == "1"
    assert offline(local=False) is None
    assert offline(local=True, HF_HUB_OFFLINE="0") == "0"


def test_every_process_has_what_all_need_and_its_own_differences_win():
    environ = {"PATH": "/bin", "API_KEY": "k", "PYTHONUTF8": "0"}
    plain = engine_environment(model_is_local=False, runs_model=False, environ=environ)
    assert plain == {"PATH": "/bin", "API_KEY": "k", **ENGINE_VARIABLES}
    other = engine_environment(
        model_is_local=True,
        runs_model=False,
        added={**PARALLEL_TOKENIZER, "HF_HUB_OFFLINE": "0"},
        without=("API_KEY", "NOT_THERE"),
        environ=environ,
    )
    assert "API_KEY" not in other
    assert (other["TOKENIZERS_PARALLELISM"], other["HF_HUB_OFFLINE"]) == ("true", "0")
