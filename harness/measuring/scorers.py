"""The subjects on one set of weights, all of them scored by one plan."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.measuring.experiment import Experiment
from harness.models.base import LoadedModel
from harness.models.provenance import KEY_VERSION, score_context
from harness.processes import ranks
from harness.terminal import Done, Terminal
from suites.engine.cache.file import CacheNotWritableError
from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.plan import ScoringState
from suites.engine.scoring import ModelScorer
from suites.inputs import Request, ResponseScore

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Scorers:
    """The subjects that share one set of weights."""

    loaded: LoadedModel
    adapters: Mapping[str, str]
    """Subject -> the name it has in `loaded`: that of an adapter, or `BASELINE` for the weights alone."""
    state: ScoringState
    """Plan and checks of the run, shared by all subjects."""
    cache: ScoreCache | None
    terminal: Terminal

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
        return KeptResults(self.cache, score_context(self.loaded, self.adapters[subject]))

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
