"""The loss of supervised tokens alone is the loss, whatever the type of the output layer."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.engine

torch = pytest.importorskip("torch")


@pytest.fixture
def liger_loss(monkeypatch):
    """A stand-in for Liger's fused loss, which runs on GPUs: the same call, computed at once."""
    calls = []

    def loss(hidden_states, lm_head_weight, labels, hidden_size, *, shift_labels, num_items_in_batch, **kwargs):
        calls.append((hidden_states.dtype, lm_head_weight.dtype, len(hidden_states)))
        logits = (hidden_states @ lm_head_weight.t()).float()
        summed = torch.nn.functional.cross_entropy(logits, shift_labels, ignore_index=-100, reduction="sum")
        return summed / num_items_in_batch

    module = SimpleNamespace(LigerForCausalLMLoss=loss)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.model.tiny", module)
    functional = SimpleNamespace(liger_fused_linear_cross_entropy=lambda chunk_mem_const=1: None)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", functional)
    return module, calls


@pytest.mark.parametrize(("held", "trained"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)])
def test_the_loss_of_supervised_tokens_is_that_of_all(speed, liger_loss, held, trained):
    """A frozen output layer is cast once; a trained one, tied to the embedding or not, keeps its gradient."""
    module, calls = liger_loss
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(128, 32).to(held), requires_grad=trained)
    labels = torch.randint(0, 128, (3, 24))
    labels[:, :4] = labels[1, 20:] = -100
    results = []
    for installed in (False, True):
        if installed:
            assert speed.loss.install(SimpleNamespace(config=SimpleNamespace(model_type="tiny"))) == "on"
        states = torch.randn(*labels.shape, 32, generator=torch.Generator().manual_seed(1)).to(held).requires_grad_()
        shifted = torch.nn.functional.pad(labels, (0, 1), value=-100)[..., 1:]
        weight.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            flat = states if installed else states.view(-1, 32)
            shift = shifted if installed else shifted.reshape(-1)
            loss = module.LigerForCausalLMLoss(flat, weight, None, 32, shift_labels=shift, num_items_in_batch=30)
        loss.backward()
        results.append((loss.detach(), states.grad, weight.grad))
    torch.testing.assert_close(results[1][0], results[0][0])
    torch.testing.assert_close(results[1][1], results[0][1])
    if trained:
        torch.testing.assert_close(results[1][2], results[0][2], rtol=2e-2, atol=2e-3)
    kept = torch.float32 if trained else torch.bfloat16
    assert calls[1] == (held, kept, int((labels[:, 1:] != -100).sum()))
