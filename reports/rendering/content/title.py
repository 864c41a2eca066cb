"""The title of a report: which candidates against which baseline, how they were trained, and which run it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from reports.comparing.choice import peers
from reports.paths import ELSEWHERE
from reports.records import Run, Subject

NOT_COMPLETE = "Not complete: the same command again measures what is missing."
"""Line above the subjects that were asked for and are not there."""
_METHODS = {"dpo": "DPO", "kto": "KTO", "sft": "SFT"}


@dataclass(frozen=True, slots=True)
class Title:
    """What a report is of, before any result."""

    subject: str
    """The candidates in a few words, such as "adapter" or "4 learning rates, 3 seeds"."""
    baseline: str
    """The baseline and its weights, such as "baseline (embedded, NF4)"."""
    training: tuple[str, ...]
    """Facts of the training: data, steps and method, beta, seeds, controls; none if nothing was trained."""
    run: tuple[str, ...]
    """Name of the run, its suite, and the day."""

    @property
    def text(self) -> str:
        """The title in one line."""
        return f"{self.subject} against {self.baseline}" if self.subject else self.baseline


def report_title(run: Run) -> Title:
    """Return the title of a report of a run."""
    return Title(_candidates(run), _baseline(run), tuple(_training(run)), tuple(_made(run)))


def _candidates(run: Run) -> str:
    """Return the name of the one candidate or recipe, the values of a sweep, or how many there are.

    Controls, first stages and models of other weights are none of them, as in the headline.
    """
    judged = peers(run) or [each for each in run.candidates if not each.is_control]
    recipes = list(dict.fromkeys(subject.recipe or subject.name for subject in judged))
    if len(recipes) <= 1:
        return next(iter(recipes or [subject.name for subject in run.candidates]), "")
    swept = run.config.get("sweep") or {}
    trained = [subject for subject in judged if subject.recipe or subject.beta is not None]
    n_recipes = len(dict.fromkeys(subject.recipe or subject.name for subject in trained))
    if len(swept) == 1 and n_recipes == len(recipes):
        words = next(iter(swept)).rpartition(".")[2].replace("_", " ")
        return f"{n_recipes} values of {words}" if words.endswith("s") else f"{n_recipes} {words}s"
    return f"{len(recipes)} candidates"


def _baseline(run: Run) -> str:
    base = _mapping(run.provenance.get("base"))
    name = _without_folders(str(base.get("name") or ""))
    quantisation = str(base.get("quantization") or "none")
    weights = str(base.get("dtype") or "") if quantisation == "none" else quantisation.upper()
    known = ", ".join(part for part in (name, weights) if part)
    return f"{run.baseline.name} ({known})" if known else run.baseline.name


def _training(run: Run) -> list[str]:
    """Return what all candidates have in common that were trained in the run; nothing of several runs."""
    if not run.training or run.runs:
        return []
    adapters = [subject for subject in run.candidates if not subject.is_control and subject.beta is not None]
    training = _mapping(run.config.get("training"))
    steps = {row["step"] for row in run.training if row.get("kind") == "summary" and row.get("step")}
    method = _METHODS.get(str(training.get("method")), str(training.get("method") or ""))
    data = _mapping(_mapping(run.config.get("data")).get("training")).get("name")
    betas = {subject.beta for subject in adapters}
    controls = [subject.name.removeprefix("control: ") for subject in run.candidates if subject.is_control]
    facts = [
        _without_folders(str(data or "")),
        f"{max(steps):,} steps of {method}" if steps and method else method,
        f"beta {betas.pop():g}" if len(betas) == 1 and method != "SFT" else "",
        _seeds(adapters),
        f"{'controls' if len(controls) > 1 else 'control'}: {', '.join(controls)}" if controls else "",
    ]
    return [fact for fact in facts if fact]


def _seeds(adapters: list[Subject]) -> str:
    """Return how many training seeds each recipe has; nothing if they differ in that."""
    numbers = {sum(other.recipe == each.recipe for other in adapters) if each.recipe else 1 for each in adapters}
    if len(numbers) != 1:
        return ""
    (n_seeds,) = numbers
    return "one seed" if n_seeds == 1 else f"{n_seeds} seeds"


def _made(run: Run) -> list[str]:
    return [fact for fact in (f"run {run.name}", f"suite {run.suite}", _day(run.created)) if fact]


def _day(created: str) -> str:
    """Return the day in words, or what is stored if it is no time of ISO 8601."""
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time.day} {time:%b %Y}"


def _without_folders(name: str) -> str:
    """Return a hub id as it is, and of a path of this machine its last part."""
    parts = PurePath(name).parts
    is_hub_id = len(parts) <= 2 and parts[:1] != (ELSEWHERE,)  # noqa: PLR2004 - owner and name
    return name if is_hub_id else PurePath(name).name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
