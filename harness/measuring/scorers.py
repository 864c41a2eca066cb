"""The subjects on one set of weights, all of them scored by one plan."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from harness.measuring.experiment import Experiment
from harness.models.base import LoadedModel
from harness.models.provenance import KEY_VERSION, score_context
from harness.processes import ranks
from harness.terminal import Done, Terminal
from suites.engine.cache.file import CacheNotWritableError
from suites.engine.cache.kept import KeptResults, ResultStore
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.causal_model import computes_exactly
from suites.engine.plan import ScoringPlan, ScoringState
from suites.engine.scoring import ModelScorer, ScoreStore
from suites.inputs import Request, ResponseScore

Result = TypeVar("Result")

_MARK = "unit"


class Store(ScoreStore, ResultStore, Protocol):
    """Scores and other results of earlier runs, or of earlier units."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is kept of an evaluation of one subject once all of it is in the cache."""

    plan: ScoringPlan
    """The plan at its end."""
    is_exact: bool
    """Whether its results are found whatever the plan it begins by."""

    @classmethod
    def find(cls, kept: KeptResults, content: str, plan: ScoringPlan) -> "Mark | None":
        """Finds the mark of an evaluation that begins by a plan.

        Args:
            kept: Results of the subject.
            content: Hash of everything that the evaluation asks (`Evaluation.content`).
            plan: The plan.
        """
        for begun in (None, asdict(plan)):
            value = kept.look_up(_MARK, content, begun)
            if value is not None:
                return cls(ScoringPlan(**value["plan"]), value["is_exact"])
        return None

    def keep(self, kept: KeptResults, content: str, begun: ScoringPlan) -> None:
        """Keeps the mark, under the plan that the evaluation began by where that matters."""
        kept.keep(asdict(self), _MARK, content, None if self.is_exact else asdict(begun))


@dataclass(frozen=True, slots=True)
class Scorers:
    """The subjects that share one set of weights."""

    loaded: LoadedModel
    adapters: Mapping[str, str]
    """Subject -> the name it has in `loaded`: that of an adapter, or `BASELINE` for the weights alone."""
    state: ScoringState
    """Plan and checks of the run, shared by all subjects."""
    cache: Store | None
    terminal: Terminal
    found_only: bool = False
    """Whether everything must be found in the cache, so that nothing is computed."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, the baseline first where it is among them."""
        return tuple(self.adapters)

    def model(self, subject: str) -> AbstractContextManager[Any]:
        """The model as the subject sees it, in a `with` block."""
        return self.loaded.subject(self.adapters[subject])

    def score(self, what: str, requests: Sequence[Request]) -> dict[str, list[ResponseScore]]:
        """Scores the same requests by every subject; `what` is shown as progress.

        Returns:
            Subject -> its scores, in the order of the requests.
        """
        return self.each(what, len(requests), lambda _, scorer, done: scorer.score(requests, done))

    def each(self, what: str, total: int | None, use: Callable[[str, ModelScorer, Done], Result]) -> dict[str, Result]:
        """Calls `use` with every subject's scorer, by one plan.

        A scorer takes a more careful plan where its model fails the self-check or runs out of memory. All subjects are
        then scored again, so that their numbers stay comparable.

        Args:
            what: shown as progress.
            total: number of different requests, None where it is not known before.
            use: gets the subject, its scorer and the progress, and is called again where the plan changed.
        """
        return self.state.on_one_plan(
            lambda: {subject: self._used(subject, what, total, use) for subject in self.adapters}
        )

    def scorer(self, subject: str, model: Any) -> ModelScorer:
        """The scorer of a subject, from the model as `model` gives it."""
        return ModelScorer(
            model,
            pad_token_id=self.loaded.pad_token_id,
            state=self.state,
            cache=self.cache,
            context=score_context(self.loaded, self.adapters[subject]),
            kept=self.kept(subject),
        )

    def kept(self, subject: str) -> KeptResults:
        """What earlier runs kept of a subject beside its scores."""
        required_of = subject if self.found_only else None
        return KeptResults(self.cache, score_context(self.loaded, self.adapters[subject]), required_of)

    def mark(self, subject: str, content: str, begun: ScoringPlan, *, is_scored: bool) -> None:
        """Keeps that everything of an evaluation is in the cache.

        Args:
            subject: Name of the subject.
            content: Hash of everything that the evaluation asks.
            begun: The plan that it began by.
            is_scored: Whether its results may depend on the plan.
        """
        mark = Mark(self.state.plan, not is_scored or computes_exactly(self.loaded.base))
        if mark.is_exact or len(self.adapters) == 1 or begun == mark.plan:  # else each subject began by another one
            mark.keep(self.kept(subject), content, begun)

    def _used(
        self, subject: str, what: str, total: int | None, use: Callable[[str, ModelScorer, Done], Result]
    ) -> Result:
        with self.model(subject) as model, self.terminal.progress(f"{what}: {subject}", total) as done:
            return use(subject, self.scorer(subject, model), done)


def score_cache(experiment: Experiment) -> AbstractContextManager[ScoreCache | None]:
    """The workspace's cache of scores, or none; the first of several processes has it for all."""
    if not experiment.use_cache or not ranks().is_first:
        return nullcontext()
    try:
        cache = ScoreCache.open(experiment.workspace.scores, experiment.terminal.say)
    except CacheNotWritableError as error:  # a cache saves time and decides nothing
        experiment.terminal.say(f"Scores are not kept for later runs: {error}")
        return nullcontext()
    cache.expect_keys(KEY_VERSION)
    return cache
