"""Which modules of a model an adapter puts weights on, and which it leaves as they are."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel

_ROUTERS = {"gate", "router"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Names of modules, with a star for the number of a layer -> how many there are."""

    adapted: dict[str, int]
    untouched: dict[str, int]
    """Matrices without adapter weights, the output head aside; a stack of experts counts once a layer."""

    def as_line(self) -> str:
        """Return a line for the user; empty where one stack of layers has weights on all of its matrices."""
        stacks = {name.partition(".*.")[0] for name in self.adapted}
        routers = [name for name in self.adapted if not _ROUTERS.isdisjoint(name.split("."))]
        if len(stacks) == 1 and not routers and not self.untouched:
            return ""
        line = f"The adapter has weights on {sum(self.adapted.values()):,} modules: {_named(self.adapted)}"
        line += f" (among them the router, {', '.join(routers)})" if routers else ""
        return f"{line}. It has none on {_named(self.untouched)}." if self.untouched else f"{line}."


def coverage_of(model: "PeftModel") -> Coverage:
    """Return what a model's adapter covers; `all-linear` means other modules in every family."""
    import torch
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    base = model.get_base_model()
    head = base.get_output_embeddings()
    adapted: Counter[str] = Counter()
    untouched: Counter[str] = Counter()
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            place = name.removesuffix(".base_layer" * name.count(".base_layer"))  # one layer for each stack of experts
            adapted[".".join(filter(None, (_without_numbers(place), getattr(module, "parameter_name", ""))))] += 1
        elif "lora_" in name or name.endswith(".base_layer") or module is head:
            continue
        elif isinstance(module, torch.nn.Linear | Conv1D) or any(
            weight.ndim > 2  # noqa: PLR2004 - matrices of several experts in one
            for weight in module.parameters(recurse=False)
        ):
            untouched[_without_numbers(name)] += 1
    return Coverage(dict(adapted), dict(untouched))


def _without_numbers(name: str) -> str:
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def _named(modules: Iterable[str]) -> str:
    """Return names of modules, those of one stack of layers together."""
    by_stack: dict[str, list[str]] = {}
    for name in modules:
        stack, star, inside = name.partition(".*.")
        by_stack.setdefault(stack if star else "", []).append(inside or stack)
    return "; ".join(f"{stack + ': ' if stack else ''}{', '.join(names)}" for stack, names in by_stack.items())
