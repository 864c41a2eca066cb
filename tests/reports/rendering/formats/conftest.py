"""What the tests of the page share: a run with everything in it, and one whose every text is hostile."""

from dataclasses import replace

import pytest

from reports.comparing.compare import compare
from reports.records import ExampleScore, ExampleText, Generation, MetricScores
from reports.rendering.formats.page import html_report

EVIL = "</script><script>hacked = 1</script><img src=x onerror='hacked = 1'> & \u2028 \"quoted\" $x"


def _rich_run(fakes):
    """Two candidates, a metric on the answers, texts of pairs, and margins by the name that the suites give them."""
    run = fakes.realistic_run(("dpo", "other"))
    length = replace(fakes.BITS, evaluation="answers", name="answer_length", unit="tokens per answer")
    lengths = [
        MetricScores(length, name, (ExampleScore("q1", "q1", float(n), 1), ExampleScore("q2", "q2", 8, 1)))
        for n, name in enumerate(("base", "dpo", "other"), start=5)
    ]
    renamed = [
        replace(each, metric=replace(each.metric, name="reward_margin")) if each.metric == fakes.MARGIN else each
        for each in run.measurements
    ]
    texts = tuple(
        ExampleText(f"e{n:04d}", "preferences", f"Question {n}?", {"chosen": f"Good {n}.", "rejected": f"Bad {n}."})
        for n in range(120)
    )
    return replace(run, measurements=(*renamed, *lengths), examples=texts)


@pytest.fixture(scope="module")
def rich(fakes):
    """The rich run and its page."""
    run = _rich_run(fakes)
    return run, html_report(run, compare(run))


@pytest.fixture(scope="module")
def evil_run(fakes):
    """The same text in every place that takes text."""
    run = fakes.realistic_run((EVIL,))
    scores = (ExampleScore(EVIL, EVIL, 1, 1),)
    metric = replace(fakes.BITS, evaluation=EVIL, name=EVIL, unit=EVIL, primary=True)
    measured = [MetricScores(metric, name, scores) for name in ("base", EVIL)]
    return replace(
        run,
        name=EVIL,
        headline=EVIL,
        notes=(EVIL,),
        measurements=(*run.measurements, *measured),
        generations=(
            Generation(EVIL, EVIL, "base", EVIL, EVIL, "an answer", refused=False),
            Generation(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, refused=True),
        ),
        examples=(ExampleText(EVIL, EVIL, EVIL, {EVIL: EVIL}),),
        provenance={EVIL: EVIL},
    )
