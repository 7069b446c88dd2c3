"""The schedule that lfwrap foretells is the one that transformers follows."""

import pytest

from lfwrap.plan.schedule import Schedule

pytestmark = pytest.mark.engine

NAMES = ["linear", "cosine", "cosine_with_restarts", "constant", "constant_with_warmup", "inverse_sqrt"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("updates", [1, 2, 7, 77])
@pytest.mark.parametrize("warmup", [0, 1, 8])
def test_the_learning_rates_are_those_of_transformers(name, updates, warmup):
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    real = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=updates)
    foretold = Schedule(None, 1.0, None, updates, warmup, 2e-4, name)
    for update in range(1, updates + 1):
        assert foretold.learning_rate(update) == pytest.approx(real.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        real.step()
