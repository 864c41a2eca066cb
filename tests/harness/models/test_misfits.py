"""What is said of an adapter that PEFT refuses to put on a base."""

import pytest

from harness.models.adapter_files.config import AdapterConfig
from harness.models.misfits import why_refused

TORCH = (
    "Error(s) in loading state_dict for PeftModelForCausalLM:\n"
    "\tsize mismatch for base_model.model.model.layers.1.mlp.down_proj.lora_A.candidate_0.weight: copying a param with "
    "shape torch.Size([4, 176]) from checkpoint, the shape in current model is torch.Size([4, 96])."
)


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        ("org/other", "adapter_config.json names 'org/other': give it with --model"),
        ("org/base", "give the base that it was trained on with --model"),
        ("", "give the base that it was trained on with --model"),
    ],
)
def test_other_shapes_are_told_with_the_base_that_the_adapter_names(named: str, advice: str) -> None:
    """Module, both shapes and what to do, and nothing of torch's own words; the base at hand is no advice."""
    config = AdapterConfig(base_model_name_or_path=named, r=4)
    assert why_refused(RuntimeError(TORCH), config, "org/base") == (
        "belongs to another base model: in adapter_model.safetensors a tensor of model.layers.1.mlp.down_proj has "
        f"shape [4, 176], where 'org/base' needs [4, 96]; {advice}"
    )
