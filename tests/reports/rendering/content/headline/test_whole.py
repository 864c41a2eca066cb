"""The whole headline of made-up runs: short, complete and careful, whatever a run holds."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.comparing.together import put_together
from reports.records import EvaluationCounts, Metric, MetricScores, Run, Selection, Subject
from reports.rendering.content.display import MINUS
from reports.rendering.content.headline import Headline, headline
from reports.rendering.content.headline.limits import LONGEST_LIMIT
from reports.rendering.content.names import metric_names

LONG = "a very long name of a data set that somebody has <b>in bold</b> & with | marks, " * 3


def headline_of(run: Run) -> Headline:
    """The headline of a run."""
    comparisons = compare(run)
    found = headline(run, comparisons, over_seeds(run, comparisons))
    assert found is not None
    return found


def length(found: Headline) -> int:
    """Characters of sentence and lines, with what each line is about."""
    return len(found.sentence) + sum(len(f"{line.kind}: {line.text}") for line in found.lines)


def drawn_run(fakes: SimpleNamespace, seed: int) -> Run:
    """A run of any outcomes: up to 24 metrics of three units, with seeds, controls, rulers and groups, or without."""
    rng = np.random.default_rng(seed)
    n_metrics, n_seeds, n = rng.integers(1, 25), rng.integers(1, 5), int(rng.choice([6, 20]))
    is_long = rng.random() < 0.7
    candidates = [f"{LONG if is_long else 'dpo'} {each}" for each in range(n_seeds)]
    controls = ["control: sft on chosen", f"control: {LONG}"][: rng.integers(0, 3)]
    scores: dict[tuple[Metric, str], tuple] = {}
    for number in range(n_metrics):
        is_reward = rng.random() < 0.2
        metric = Metric(
            f"{LONG if is_long else 'set'} {number}",
            "reward_accuracy" if is_reward else str(rng.choice(["perplexity", "acc", "a_measure_" * 9])),
            str(rng.choice(["nats per token", "some unit of somebody's " * 4])),
            higher_is_better=True if is_reward else rng.choice([True, False, None]),
            display="percent" if is_reward else str(rng.choice(["exp", "mean"])),
            primary=True,
            chance=0.5 if is_reward else None,
            uninformative=1.9 if rng.random() < 0.2 else None,
        )
        metric = replace(
            metric, higher_is_better=None if metric.higher_is_better is None else bool(metric.higher_is_better)
        )
        if not is_reward:
            scores[metric, "base"] = fakes.scores(rng.normal(2, 0.3, n))
        shift = rng.choice([0.0, 0.3, -0.3]) * rng.choice([1.0, 1e6], p=[0.9, 0.1])
        for name in (*candidates, *controls):
            if is_reward:
                scores[metric, name] = fakes.scores(rng.random(n) < 0.5 + rng.choice([0.0, 0.4, -0.4]))
            else:
                base = np.array([each.total for each in scores[metric, "base"]])
                nats = base + shift + rng.normal(0, 0.05, n)
                scores[metric, name] = fakes.scores(np.where(rng.random(n) < 0.003, np.nan, nats))
        if is_reward:
            scores[metric, "bag of words"] = fakes.scores(rng.random(n) < 0.8)
            scores[metric, "longest"] = fakes.scores(rng.random(n) < 0.5)
    run = fakes.small_run(scores)
    recipe = LONG if n_seeds > 1 else ""
    subjects = [
        replace(each, recipe=recipe, compared_with=tuple(controls), knows_rows=bool(rng.random() < 0.7))
        if each.name in candidates
        else replace(each, is_control=each.name in controls)
        for each in run.subjects
    ]
    evaluations = {metric.evaluation for metric, _ in scores}
    counts = [
        EvaluationCounts(each, "", n, n, n, suite_group=str(rng.choice(["", "capability"]))) for each in evaluations
    ]
    winner = Selection(recipe or candidates[0], 0.7, 0.4, 56, True, 130.0, 168, "order", (LONG,))
    return replace(
        run, subjects=tuple(subjects), counts=tuple(counts), selection=(winner,) if rng.random() < 0.5 else ()
    )


def check(found: Headline) -> None:
    """It is short, and its lines are what they should be."""
    assert length(found) <= 600
    assert 1 + len(found.lines) <= 6
    assert all(len(limit) <= LONGEST_LIMIT and limit.endswith(".") for limit in found.limits)
    kinds = [line.kind for line in found.lines]
    assert kinds[:2] == ["gained", "lost"]
    assert len(set(kinds)) == len(kinds)
    assert all(text.isprintable() and text for text in (found.sentence, *(line.text for line in found.lines)))
    assert (kinds[-1] == "believe it?") == bool(found.limits)
    if found.limits:
        assert found.limits[0].rstrip(".") in found.lines[-1].text
        said = found.lines[-1].text
        n_more = len(found.limits) - sum(limit.rstrip(".") in said for limit in found.limits[:2])
        assert said.endswith(f"{n_more} lesser limit{'s' if n_more > 1 else ''} below") == (n_more > 0)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_at_most_six_sentences_and_600_characters(fakes: SimpleNamespace, seed: int) -> None:
    """In every run, with the comparisons that it holds."""
    check(headline_of(drawn_run(fakes, seed)))


SHOWS = ("better", "worse", "changed", "no change seen", "cannot tell", "not finite", "not measured")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200)


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_stays_short_whatever_is_shown(rows: SimpleNamespace, data: st.DataObject) -> None:
    """Up to forty metrics of any name, unit, size and outcome, with rulers and controls of any name."""
    draw, made, subjects = data.draw, [], [Subject("base", "baseline", "")]
    subject = Subject(draw(TEXTS) or "dpo", "candidate", "", recipe=draw(TEXTS))
    others = [
        Subject(f"ruler {draw(TEXTS)}", "ruler", ""),
        Subject(f"c {draw(TEXTS)}", "candidate", "", is_control=True),
    ]
    for number in range(draw(st.integers(1, 40))):
        unit, display = draw(st.sampled_from([("nats", "exp"), ("wins", "percent"), ("u" * 90, "mean")]))
        size = draw(st.sampled_from([0.001, 0.1, 1e4]))
        chance = draw(st.sampled_from([0.5, None, None]))
        metric = Metric(f"{draw(TEXTS)} {number}", "perplexity", unit, True, display, primary=True, chance=chance)
        sides = [("definition" if chance else "baseline", "base"), *(("ruler", others[0].name),) * bool(chance)]
        for against, other in (*sides, ("candidate", others[1].name)):
            row = rows.row_of(metric, draw(st.sampled_from(SHOWS)), against, other, candidate=subject.name)
            ends = row.interval and (row.interval[0] * size, row.interval[1] * size)
            made.append(replace(row, interval=ends, difference=row.difference and row.difference * size))
    measurements = tuple(MetricScores(row.metric, subject.name, ()) for row in made)
    groups = [EvaluationCounts(row.metric.evaluation, "", 1, 1, 1, suite_group="x") for row in made[::2]]
    tie = Selection(subject.name, 0.7, 0.4, 56, True, 130.0, 168, "order", (LONG,))
    run = Run(
        *("run", "suite", "2026", "", ""),
        subjects=(*subjects, subject, *others),
        measurements=measurements,
        counts=tuple(groups) if draw(st.booleans()) else (),
        selection=(tie,) if draw(st.booleans()) else (),
    )
    found = headline(run, made, [])
    assert found is not None
    check(found)


def test_a_run_like_the_default(fakes: SimpleNamespace) -> None:
    """Sentence, lines and limits of a realistic run, word by word."""
    run = fakes.realistic_run()
    found = headline_of(run)
    assert found.subject == "dpo"
    assert found.sentence == (
        "It favours the preferred answers more often than chance, but so does counting words; it got worse "
        "elsewhere: 1 of 2 perplexities rose, by 14.0 %."
    )
    names = metric_names(run)
    gained, lost, unseen, untold, believe = found.lines
    assert (gained.kind, gained.text[:20]) == ("gained", "Preferred answers, a")
    assert lost.text.startswith("Truthful answers, perplexity +1")
    assert names[fakes.MC1] in unseen.text
    assert untold.kind == "cannot tell"
    assert believe.text.startswith("Counting words (a bag of words) reaches ")
    assert found.limits[1] == "One training seed: holds for this adapter, not for its recipe."


def test_without_a_candidate_there_is_no_headline(fakes: SimpleNamespace) -> None:
    """A run of the baseline alone answers nothing."""
    run = fakes.small_run({(fakes.PERPLEXITY, "base"): fakes.scores([1.0, 2.0])})
    assert headline(run, compare(run), []) is None


def test_everything_worse(fakes: SimpleNamespace) -> None:
    """Where every row lost, the sentence says so, nothing is gained, and all are in the line of what was lost."""
    noise = np.random.default_rng(0).normal(0, 0.02, (2, 60))
    metrics = (fakes.PERPLEXITY, fakes.COREFERENCE)
    scores = {(metric, "base"): fakes.scores(np.full(60, 2.0)) for metric in metrics}
    scores |= {(metric, "dpo"): fakes.scores(2.4 + noise[n]) for n, metric in enumerate(metrics)}
    scores[fakes.ACCURACY, "dpo"] = fakes.scores([1, 0, 0, 0] * 50)
    found = headline_of(fakes.small_run(scores))
    assert found.sentence == (
        "Everything that was measured got worse: it favours the preferred answers less often than chance, all 2 "
        "perplexities rose, by up to 49.44 %."
    )
    assert [line.kind for line in found.lines] == ["gained", "lost", "believe it?"]
    assert found.lines[0].text == "nothing seen in these rows"
    assert re.search(
        rf"accuracy {MINUS}25.0 pp; perplexity of .* \+4\d\.\d+ %, .* \+4\d\.\d+ % \(lower is better\)",
        found.lines[1].text,
    )


def test_a_recipe_is_named_and_told_by_its_mean(fakes: SimpleNamespace) -> None:
    """The chosen recipe over its three seeds."""
    found = headline_of(fakes.sweep_run())
    assert found.subject == fakes.LR
    assert found.sentence.startswith(f"Of 2 candidates, {fakes.LR} was chosen: over 3 seeds, it ")


@pytest.mark.parametrize("missing", ["preferences", "truthfulness"])
def test_what_is_missing_is_not_called_good(fakes: SimpleNamespace, missing: str) -> None:
    """Without its numbers, a metric stands under cannot tell, with its reason."""
    run = fakes.realistic_run()
    measurements = tuple(
        MetricScores(each.metric, each.subject, (), missing="no rows") if each.metric.evaluation == missing else each
        for each in run.measurements
    )
    found = headline_of(replace(run, measurements=measurements))
    (untold,) = [line.text for line in found.lines if line.kind == "cannot tell"]
    assert "(not measured)" in untold
    assert ("was not measured" in found.sentence) == (missing == "preferences")


def test_the_headline_of_two_runs_is_about_the_second_against_the_first(fakes: SimpleNamespace) -> None:
    """Not about either against the base: pairs won more often, or less, than by the other run's adapter."""

    def run(name: str, n_won: int) -> Run:
        noise = np.random.default_rng(n_won).normal(0, 0.02, 60)
        base = fakes.scores(np.full(60, 2.0))
        measured = {
            (fakes.ACCURACY, "adapter"): fakes.scores([1] * n_won + [0] * (200 - n_won)),
            (fakes.PERPLEXITY, "base"): base,
            (fakes.PERPLEXITY, "adapter"): fakes.scores(2.0 + n_won / 500 + noise),
        }
        return fakes.small_run(measured, name=name, config={"training": {"beta": n_won / 1000}})

    better = headline_of(put_together([run("one", 110), run("two", 160)]))
    assert better.subject == "beta=0.16"
    assert (
        better.sentence
        == "Compared with beta=0.11, it favours the preferred answers more often; it got worse elsewhere: "
        "perplexity rose by 10.46 %."
    )
    assert better.lines[0].text == "Preferred answers, accuracy +25.0 pp"
    assert "One adapter of each run: this holds for these two, not for their recipes." in better.limits
    worse = headline_of(put_together([run("two", 160), run("one", 110)]))
    assert worse.sentence.startswith(
        "Compared with beta=0.16, it favours the preferred answers less often; one other measure"
    )
