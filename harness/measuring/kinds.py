"""Evaluations x subjects on one set of weights, all on the same rows, in one process; the table of evaluation kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

from harness.config.schema import AnswersConfig, EvaluationConfig, SuiteConfig
from harness.data.experiment_data import ExperimentData
from harness.data.read import Dataset
from harness.data.splits import Item, sample_by_group
from harness.measuring.example_texts import shortened, text_of_example, text_of_pair
from harness.models.base import BASELINE, LoadedModel
from harness.models.provenance import score_context
from harness.terminal import Done, Terminal
from reports.records import EvaluationCounts, ExampleText, Generation, MetricScores, Subject
from suites.engine.decoding import Decoding
from suites.engine.encoding import Encoder
from suites.engine.plan import ScoringState
from suites.engine.score_cache import ScoreCache
from suites.engine.scoring import ModelScorer
from suites.evaluations import drift, generations, perplexity, reward
from suites.evaluations.plan import EvaluationPlan
from suites.inputs import Pair, Request, ResponseScore
from suites.lm_eval.tasks import TaskResult, TaskSet, run_tasks

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ImplicitReward:
    """beta x (log-probability by the candidate - by its reference)."""

    reference: str
    """A subject that is measured before the candidate, or together with it."""
    beta: float


@dataclass(slots=True)
class Kept:
    """What is handed on when a run turns to other weights, so that nothing is encoded or scored twice."""

    plans: dict[str, Any] = field(default_factory=dict)
    """Evaluation -> its encoded rows."""
    scores: dict[tuple[str, str], list[ResponseScore]] = field(default_factory=dict)
    """(evaluation of the kind reward, subject) -> its scores."""

    def plan(self, evaluation: str, make: Callable[[], Result]) -> Result:
        """The evaluation's encoded rows, made the first time."""
        if evaluation not in self.plans:
            self.plans[evaluation] = make()
        return cast("Result", self.plans[evaluation])


@dataclass(frozen=True, slots=True)
class Bench:
    """What all evaluations on one set of weights share."""

    loaded: LoadedModel
    encoder: Encoder
    """The baseline's, whatever the weights: all subjects get the same token ids."""
    subjects: Mapping[str, str]
    """Subject on these weights -> what `loaded.subject` calls it."""
    rewards: Mapping[str, ImplicitReward]
    """Candidate on these weights -> its implicit reward; none where it has no reference."""
    kept: Kept
    data: ExperimentData
    tasks: Mapping[str, TaskSet]
    """Evaluation of the kind lm_eval -> its tasks."""
    terminal: Terminal
    scoring: ScoringState
    """Plan and checks of the run, the same for all subjects."""
    cache: ScoreCache | None
    seed: int
    answers: AnswersConfig
    """How answers are generated, where it is not as the suite says."""
    limit: int | None = None
    """At most so many rows in each evaluation, whatever the suite says."""

    def sample(self, rows: Sequence[Item], evaluation: EvaluationConfig) -> tuple[Item, ...]:
        """What the suite's limit and the run's leave of an evaluation's rows."""
        return sample_by_group(rows, smaller_limit(evaluation.limit, self.limit), self.seed)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one evaluation, or a whole suite, brought."""

    measurements: tuple[MetricScores, ...] = ()
    counts: tuple[EvaluationCounts, ...] = ()
    generations: tuple[Generation, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    rulers: tuple[Subject, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            self.measurements + other.measurements,
            self.counts + other.counts,
            self.generations + other.generations,
            self.examples + other.examples,
            tuple(dict.fromkeys(self.rulers + other.rulers)),
            tuple(dict.fromkeys(self.notes + other.notes)),
        )


def smaller_limit(*limits: int | None) -> int | None:
    """The smallest limit of those that are set."""
    return min((limit for limit in limits if limit is not None), default=None)


def run_suite(suite: SuiteConfig, bench: Bench) -> Measured:
    """Runs every evaluation of a suite on every subject that sits on the bench's weights, in the suite's order."""
    measured = Measured()
    for evaluation in suite.evaluations:
        own = KINDS[evaluation.kind](evaluation, bench)
        counts = tuple(replace(each, suite_group=evaluation.group) for each in own.counts)
        measured += replace(own, counts=counts)
    return measured


def _perplexity(evaluation: EvaluationConfig, bench: Bench) -> Measured:
    """Right responses scored given their prompts, wrong ones beside them."""
    loaded = bench.data.examples[evaluation.role]
    examples = bench.sample(loaded.rows, evaluation)
    plan = bench.kept.plan(evaluation.name, lambda: perplexity.plan(examples, bench.encoder))
    scores = _score_subjects(evaluation.name, plan.requests, bench)
    measurements = tuple(
        metric
        for subject in bench.subjects
        for metric in perplexity.measure(plan, scores[subject], evaluation=evaluation.name, subject=subject)
    )
    texts = tuple(text_of_example(row, evaluation.name) for row in examples)
    return Measured(measurements, (_counts(evaluation, loaded, examples, plan.touched),), examples=texts)


def _reward(evaluation: EvaluationConfig, bench: Bench) -> Measured:
    """Implicit rewards of the candidates on held-out pairs, and what surface rulers reach on the same pairs."""
    loaded = bench.data.pairs[evaluation.role]
    pairs = bench.sample(loaded.rows, evaluation)
    plan, rulers = bench.kept.plan(evaluation.name, lambda: _plan_rewards(evaluation, pairs, bench))
    scores = _score_subjects(evaluation.name, plan.requests, bench)
    bench.kept.scores |= {(evaluation.name, subject): scores[subject] for subject in bench.subjects}
    measurements = [
        metric
        for subject in bench.subjects
        for metric in reward.measure_preferences(plan, scores[subject], evaluation=evaluation.name, subject=subject)
    ]
    notes = []
    for candidate, own in bench.rewards.items():
        reference_scores = bench.kept.scores[evaluation.name, own.reference]
        rewards = reward.measure(
            plan, scores[candidate], reference_scores, beta=own.beta, evaluation=evaluation.name, subject=candidate
        )
        outcomes = reward.count_outcomes(rewards[0])
        notes.append(
            f"{evaluation.name}: {candidate} prefers the chosen answer in {outcomes.wins} pairs, ties in "
            f"{outcomes.ties}, prefers the rejected one in {outcomes.losses}."
        )
        measurements += rewards
        measurements += reward.where_rulers_err(rewards[0], rulers)
        measurements += drift.measure_log_ratios(
            plan, scores[candidate], reference_scores, evaluation=evaluation.name, subject=candidate
        )
    measured = Measured(
        tuple(measurements),
        (_counts(evaluation, loaded, plan.rows, plan.touched, plan.left_out),),
        examples=tuple(text_of_pair(pair, evaluation.name) for pair in plan.rows),
        notes=tuple(notes),
    )
    if BASELINE not in bench.subjects:
        return measured
    judges = tuple(Subject(ruler.subject, "ruler", "judges by the surface of the answers alone") for ruler in rulers)
    return measured + Measured(rulers, rulers=judges)


def _plan_rewards(
    evaluation: EvaluationConfig, pairs: Sequence[Pair], bench: Bench
) -> tuple[EvaluationPlan[Pair], tuple[MetricScores, ...]]:
    """The encoded pairs, and what surface rulers say of them."""
    plan = reward.plan(pairs, bench.encoder)
    fitted_on = [row for row in bench.data.training if isinstance(row, Pair)]
    return plan, tuple(reward.rulers(plan.rows, fitted_on, evaluation=evaluation.name))


def _lm_eval(evaluation: EvaluationConfig, bench: Bench) -> Measured:
    """lm-eval's tasks through its own evaluator, subject after subject."""
    from suites.lm_eval.model import ScorerLM

    tasks = bench.tasks[evaluation.name]
    lm = ScorerLM(bench.loaded.base, bench.encoder.tokenizer)

    def run(subject: str, scorer: ModelScorer, done: Done) -> list[TaskResult]:
        lm.scored_by(lambda requests: scorer.score(requests, partial(done, total=len(set(requests)))))
        return run_tasks(
            lm,
            tasks,
            evaluation=evaluation.name,
            subject=subject,
            chat_template=evaluation.chat_template,
            system_prompt=bench.encoder.system_prompt if evaluation.chat_template else None,
        )

    results = _on_one_plan(evaluation.name, bench, None, run)
    return Measured(
        tuple(metric for tasks in results.values() for task in tasks for metric in task.measurements),
        tuple(task.counts for task in next(iter(results.values()))),
        examples=tuple(shortened(text) for task in next(iter(results.values())) for text in task.texts),
        notes=tuple(dict.fromkeys(task.note for tasks in results.values() for task in tasks)),
    )


def _generations(evaluation: EvaluationConfig, bench: Bench) -> Measured:
    """Answers of all subjects to the same questions."""
    loaded = bench.data.questions[evaluation.role]
    changed = bench.answers
    questions = bench.sample(loaded.rows, replace(evaluation, limit=changed.limit or evaluation.limit))
    decoding = Decoding(
        max_new_tokens=changed.max_new_tokens or evaluation.max_new_tokens,
        temperature=changed.temperature,
        top_p=changed.top_p,
        seed=bench.seed,
    )
    answers: list[generations.Answer] = []
    for subject, own_name in bench.subjects.items():
        with (
            bench.loaded.subject(own_name) as model,
            bench.terminal.progress(f"{evaluation.name}: {subject}", len(questions)) as done,
        ):
            answers += generations.answer(
                model,
                bench.encoder,
                questions,
                evaluation=evaluation.name,
                subject=subject,
                decoding=decoding,
                progress=done,
            )
    metrics = tuple(generations.answer_metrics(answers, questions))
    counts = (_counts(evaluation, loaded, questions, {}),)
    return Measured(metrics, counts, tuple(answer.generation for answer in answers))


def _drift(evaluation: EvaluationConfig, bench: Bench) -> Measured:
    """KL of every candidate from its reference, on answers that it draws itself."""
    loaded = bench.data.questions[evaluation.role]
    questions = bench.sample(loaded.rows, evaluation)
    measurements, notes = [], []
    for candidate, own in bench.rewards.items():
        if own.reference not in bench.subjects:
            notes.append(
                f"{evaluation.name}: the KL of {candidate} from {own.reference} was not measured, since they do not "
                f"sit on the same weights."
            )
            continue
        policy = partial(bench.loaded.subject, bench.subjects[candidate])
        reference = partial(bench.loaded.subject, bench.subjects[own.reference])
        with bench.terminal.progress(f"{evaluation.name}: {candidate}", 2 * len(questions)) as done:
            with policy() as model:
                samples = drift.draw(
                    model,
                    bench.encoder,
                    questions,
                    max_new_tokens=evaluation.max_new_tokens,
                    seed=bench.seed,
                    progress=done,
                )
            limit, divergences = bench.scoring.plan.max_logit_elements, []
            for sample in samples:
                divergences.append(drift.sample_divergence(policy, reference, sample, max_logit_elements=limit))
                done(len(samples) + len(divergences))
        measurements.append(
            drift.measure_divergence(questions, samples, divergences, evaluation=evaluation.name, subject=candidate)
        )
    return Measured(tuple(measurements), (_counts(evaluation, loaded, questions, {}),), notes=tuple(notes))


def _score_subjects(what: str, requests: Sequence[Request], bench: Bench) -> dict[str, list[ResponseScore]]:
    """The same requests by every subject."""
    return _on_one_plan(what, bench, len(requests), lambda _, scorer, done: scorer.score(requests, done))


def _on_one_plan(
    what: str, bench: Bench, total: int | None, score: Callable[[str, ModelScorer, Done], Result]
) -> dict[str, Result]:
    """Results of all subjects' scorers, all of them by the same plan."""

    def score_all() -> dict[str, Result]:
        results = {}
        for subject, own_name in bench.subjects.items():
            with bench.loaded.subject(own_name) as model, bench.terminal.progress(f"{what}: {subject}", total) as done:
                scorer = ModelScorer(
                    model,
                    pad_token_id=bench.loaded.pad_token_id,
                    state=bench.scoring,
                    cache=bench.cache,
                    context=score_context(bench.loaded, own_name),
                )
                results[subject] = score(subject, scorer, done)
        return results

    return bench.scoring.on_one_plan(score_all)


def _counts(
    evaluation: EvaluationConfig,
    loaded: Dataset[Any],
    measured: Sequence[Any],
    touched: Mapping[str, int],
    left_out: Mapping[str, int] | None = None,
) -> EvaluationCounts:
    """What became of the rows; those outside of a sample are counted as left out."""
    reasons = {**loaded.left_out, **(left_out or {})}
    n_outside = len(loaded.rows) - sum((left_out or {}).values()) - len(measured)
    if n_outside:
        reasons["outside of the sample"] = n_outside
    return EvaluationCounts(
        evaluation=evaluation.name,
        dataset=loaded.origin,
        n_read=loaded.n_read,
        n_scored=len(measured),
        n_groups=len({row.group for row in measured}),
        left_out=reasons,
        touched=dict(touched),
    )


KINDS: Mapping[str, Callable[[EvaluationConfig, Bench], Measured]] = {
    "perplexity": _perplexity,
    "reward": _reward,
    "lm_eval": _lm_eval,
    "generations": _generations,
    "drift": _drift,
}
