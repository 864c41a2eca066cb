"""The driver's stores: what units computed is written as each ends, and found again by the next command."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.evaluations.perplexity import PerplexityEvaluation
from harness.measuring.evaluations.reward import RewardEvaluation
from harness.measuring.kinds import KINDS, content_beside
from harness.measuring.lineup import Candidate
from harness.measuring.scorers import Mark
from harness.measuring.units.unit import Outcome, Parcel, Scores, ScoreUnit
from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE, locate_adapter
from harness.models.base import BASELINE, LoadedModel
from harness.models.base_files.folder import files_fingerprint, locate_weights, weights_fingerprint
from harness.models.provenance import context_with_adapter
from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.causal_model import computes_exactly
from suites.engine.plan import ScoringPlan
from suites.engine.scoring import exact_key
from suites.inputs import Request, content_id

_READ = (".json", ".jsonl", ".jinja", ".md", ".txt")
"""Endings of files beside an adapter's weights that are ever read; a checkpoint has others, as large as the weights."""


class DriverStore:
    """The score cache as the driver uses it: what units return goes in, and marks say what is there."""

    def __init__(self, cache: ScoreCache, loaded: LoadedModel, suite: Mapping[EvaluationConfig, Evaluation]) -> None:
        """Takes the open cache, the base, and the prepared suite."""
        self._cache, self._loaded = cache, loaded
        self._suite = {evaluation.name: (evaluation, prepared) for evaluation, prepared in suite.items()}
        self._contents = {name: prepared.content() for name, (_, prepared) in self._suite.items()}
        # Below fp32 a score belongs to the unit that it was computed in, and none finds those of another.
        shares = computes_exactly(loaded.base)
        self._before = _sharing({name: prepared for name, (_, prepared) in self._suite.items()}) if shares else {}
        self._adapters: dict[str, str] = {}
        """Candidate -> hash of its adapter's files."""
        self._marks: dict[tuple[str | None, str, ScoringPlan], Mark | None] = {}

    def find(
        self, evaluation: str | None, candidate: Candidate | None, plan: ScoringPlan, reference: str
    ) -> Mark | None:
        """How an evaluation of a subject ended that began by a plan; None where it is not in the cache.

        Args:
            evaluation: Name of the evaluation; None is the whole suite.
            candidate: The subject; None is the baseline.
            plan: The plan.
            reference: Context of its reference, where that is on the base's weights.
        """
        key = (evaluation, BASELINE if candidate is None else candidate.name, plan)
        if key not in self._marks:
            self._marks[key] = self._looked_up(evaluation, candidate, plan, reference)
        return self._marks[key]

    def context(self, candidate: Candidate | None) -> str:
        """Everything but token ids that determines the results of a subject on the base's weights."""
        if candidate is None:
            return context_with_adapter(self._loaded, None)
        return context_with_adapter(self._loaded, self.fingerprint(candidate))

    def fingerprint(self, candidate: Candidate) -> str:
        """Hash of the files of a candidate's adapter."""
        assert candidate.adapter is not None
        if candidate.name not in self._adapters:
            folder = locate_adapter(candidate.adapter)
            self._adapters[candidate.name] = files_fingerprint([folder / CONFIG_FILE, folder / WEIGHTS_FILE])
        return self._adapters[candidate.name]

    def put(self, unit: ScoreUnit, outcome: Outcome) -> None:
        """Writes what a unit measured: scores and results first, the mark that they are there last."""
        put_results(self._cache, outcome)
        assert outcome.plan is not None
        if unit.evaluation is None:
            assert unit.subject is not None
            mark = Mark(outcome.plan, outcome.is_exact)
            mark.keep(self._kept_of_model(unit.subject), self._content_of_suite(), unit.plan)
        for known in [each for each in self._marks if each[:2] == (unit.evaluation, unit.name)]:
            del self._marks[known]

    def before(self, evaluation: str) -> Sequence[str]:
        """Evaluations whose requests an evaluation asks too; in one process it finds their scores."""
        return self._before.get(evaluation, ())

    def found(self, evaluation: str, candidate: Candidate | None) -> list[Scores]:
        """Scores in fp32 that an evaluation finds because one before it, or an earlier command, left them."""
        key, asked = exact_key(self.context(candidate)), _requests_of(self._suite[evaluation][1])
        found = self._cache.lookup(key, asked)
        return [(key, found)] if found else []

    def _looked_up(
        self, evaluation: str | None, candidate: Candidate | None, plan: ScoringPlan, reference: str
    ) -> Mark | None:
        if evaluation is None:
            assert candidate is not None
            return Mark.find(self._kept_of_model(candidate), self._content_of_suite(), plan)
        kind, content = KINDS[self._suite[evaluation][0].kind], self._contents[evaluation]
        if kind.reads_reference:
            content = content_beside(content, reference)
        mark = Mark.find(KeptResults(self._cache, self.context(candidate)), content, plan)
        return mark if mark is None or kind.is_scored else replace(mark, plan=plan)

    def _kept_of_model(self, candidate: Candidate) -> KeptResults:
        """Marks of a subject with weights of its own; its context is not known before they are loaded."""
        assert candidate.model is not None
        settings = asdict(replace(candidate.model, name="", threads=None))
        fingerprint = weights_fingerprint(locate_weights(candidate.model)[1])
        return KeptResults(self._cache, content_id(settings, fingerprint, self.context(None)))

    def _content_of_suite(self) -> str:
        return content_id(sorted(self._contents.items()))


def _requests_of(prepared: Evaluation) -> Sequence[Request]:
    """Requests of an evaluation whose rows may be those of another one; those of lm-eval's tasks are no others'."""
    return prepared.plan.requests if isinstance(prepared, PerplexityEvaluation | RewardEvaluation) else ()


def _sharing(suite: Mapping[str, Evaluation]) -> dict[str, list[str]]:
    """Evaluation -> those before it that have a request in common with it."""
    before: dict[str, list[str]] = {}
    asked: dict[Request, list[str]] = {}
    for name, prepared in suite.items():
        requests = dict.fromkeys(_requests_of(prepared))
        before[name] = list(dict.fromkeys(other for each in requests for other in asked.get(each, ())))
        for each in requests:
            asked.setdefault(each, []).append(name)
    return before


def put_results(cache: ScoreCache, outcome: Outcome) -> None:
    """Writes scores and then results of a unit; scores that are there stay, as in one process, which finds them."""
    for context, scores in outcome.scores:
        found = cache.lookup(context, [*scores])
        cache.store(context, {request: score for request, score in scores.items() if request not in found})
    for key, value in outcome.kept.items():
        cache.store_result(key, value)


def parcel_of(adapter: str, key: str | None = None) -> Parcel:
    """The files of an adapter that exists.

    Args:
        adapter: Folder or hub id.
        key: Fingerprint of the fixture; None is a hash of configuration and weights.
    """
    folder = locate_adapter(adapter)
    named = (file for file in sorted(folder.iterdir()) if file.name == WEIGHTS_FILE or file.suffix in _READ)
    files = {file.name: file.read_bytes() for file in named if file.is_file()}
    return Parcel(key or files_fingerprint([folder / CONFIG_FILE, folder / WEIGHTS_FILE]), files)
