"""Products with frozen weights by oneDNN are torch's own, forward and backward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from harness.models.provenance import processor_name
from harness.training.packed_step.frozen_product import faster_products

LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "with a bias": lambda: torch.nn.Linear(12, 20),
    "without": lambda: torch.nn.Linear(12, 20, bias=False),
    "of GPT-2": lambda: Conv1D(20, 12),
}


def on_cpu(monkeypatch: pytest.MonkeyPatch, kernels: str, capabilities: dict[str, str]) -> None:
    """As torch would name this CPU."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


MAKERS = ("AMD", "Intel")


@pytest.mark.skipif(not processor_name().startswith(MAKERS), reason="the system names neither AMD nor Intel")
def test_torch_names_the_maker_of_this_cpu() -> None:
    """As the system does, without which no CPU would be known as a fast one."""
    (maker,) = (each for each in MAKERS if processor_name().startswith(each))
    assert torch.cpu.get_capabilities()["cpu_name"].startswith(maker)


@pytest.fixture
def on_an_epyc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU where they are faster."""
    on_cpu(monkeypatch, "AVX512", {"cpu_name": "AMD EPYC 9B14"})


def frozen(name: str) -> torch.nn.Module:
    """A model of one layer without gradients of its own."""
    torch.manual_seed(1)
    return torch.nn.Sequential(LAYERS[name]()).requires_grad_(requires_grad=False)


def computed(model: torch.nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output and the gradient of the inputs."""
    inputs = inputs.clone().requires_grad_()
    output = model(inputs)
    output.square().sum().backward()
    return output.detach(), inputs.grad


@pytest.mark.usefixtures("on_an_epyc")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(9, 12), (1, 9, 12), (2, 3, 12)])
def test_output_and_gradient_are_those_of_torch(name: str, shape: tuple[int, ...]) -> None:
    """Within rounding, for inputs of any rank; the result can be added to in place."""
    model, inputs = frozen(name), torch.randn(shape)
    plain = computed(model, inputs)
    with faster_products(model):
        own = computed(model, inputs)
        assert "forward" in vars(model[0])  # type: ignore[index]
        model(inputs.clone().requires_grad_()).add_(1).sum().backward()
    torch.testing.assert_close(own, plain, rtol=1e-5, atol=1e-5)


def changed(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers that compute by oneDNN."""
    return [module for module in model.modules() if "forward" in vars(module)]


@pytest.mark.usefixtures("on_an_epyc")
def test_other_layers_are_left_alone() -> None:
    """Those that are trained or of fewer bits; after the block all are as before."""
    trained, half, own = torch.nn.Linear(4, 4), frozen("without").bfloat16(), frozen("with a bias")
    model = torch.nn.ModuleList([trained, half, own])
    with faster_products(model):
        assert changed(model) == [*own]  # type: ignore[misc]
    assert not changed(model)


@pytest.mark.parametrize(
    ("kernels", "capabilities"),
    [("AVX512", {"cpu_name": "Intel Xeon"}), ("AVX2", {"cpu_name": "AMD EPYC 9B14"}), ("AVX512", {})],
)
def test_on_other_cpus_torch_computes(
    monkeypatch: pytest.MonkeyPatch, kernels: str, capabilities: dict[str, str]
) -> None:
    """On those of Intel, on those without AVX512, and where nothing is known of the maker."""
    on_cpu(monkeypatch, kernels, capabilities)
    model = frozen("without")
    with faster_products(model):
        assert not changed(model)


@pytest.mark.usefixtures("on_an_epyc")
def test_under_autocast_and_for_other_types_the_layer_computes_as_it_would() -> None:
    """Its result has the type that it has without the block."""
    model: Any = frozen("with a bias")
    with faster_products(model), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(3, 12)).dtype == torch.bfloat16
    with faster_products(model), pytest.raises(RuntimeError, match="same dtype"):
        model(torch.randn(3, 12, dtype=torch.float64))
