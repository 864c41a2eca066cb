"""What the tests of the page share: a run with everything in it, one whose every text is hostile, and a browser."""

import shutil
from dataclasses import replace

import pytest
from chromium import Chromium
from reported import page_of

from reports.records import ExampleScore, ExampleText, Generation, MetricScores

EVIL = "</script><script>hacked = 1</script><img src=x onerror='hacked = 1'> & \u2028 \"quoted\" $x"
ARABIC = "\u0627\u0644\u062e\u0628\u0632 \u0637\u0639\u0627\u0645 \u0645\u0646 \u0627\u0644\u062f\u0642\u064a\u0642."
CHINESE = ("\u6211\u6628\u5929\u4e70\u4e86\u82f9\u679c\u3002", "\u6211\u6628\u5929\u4e70\u4e86\u6a58\u5b50\u3002")
"""I bought apples yesterday; I bought oranges yesterday."""


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
    answers = tuple(
        Generation("answers", example, name, "languages", prompt, answer, refused=False)
        for example, prompt, base, other in (
            ("q3", "Arabic?", ARABIC, ARABIC + " " + ARABIC),
            ("q4", "Chinese?", *CHINESE),
            ("q5", "Lines?", "first\nsecond line\nlast", "first\nanother line\nlast" + "\nmore" * 30),
        )
        for name, answer in (("base", base), ("dpo", other), ("other", base))
    )
    return replace(run, measurements=(*renamed, *lengths), examples=texts, generations=(*run.generations, *answers))


@pytest.fixture(scope="session")
def rich(fakes):
    """The rich run and its page."""
    run = _rich_run(fakes)
    return run, page_of(run)


@pytest.fixture(scope="session")
def evil_run(fakes):
    """The same text in every place that takes text."""
    run = fakes.realistic_run((EVIL,))
    scores = (ExampleScore(EVIL, EVIL, 1, 1),)
    metric = replace(fakes.BITS, evaluation=EVIL, name=EVIL, unit=EVIL, primary=True)
    measured = [MetricScores(metric, name, scores) for name in ("base", EVIL)]
    return replace(
        run,
        name=EVIL,
        suite=EVIL,
        created=EVIL,
        headline=EVIL,
        notes=(EVIL,),
        measurements=(*run.measurements, *measured),
        generations=(
            Generation(EVIL, EVIL, "base", EVIL, EVIL, "an answer", refused=False),
            Generation(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, refused=True),
        ),
        examples=(ExampleText(EVIL, EVIL, EVIL, {EVIL: EVIL}),),
        config={"training": {"method": EVIL}, "data": {"training": {"name": EVIL}}, "sweep": {EVIL: [1]}},
        provenance={EVIL: EVIL, "base": {"name": EVIL, "quantization": EVIL}},
    )


@pytest.fixture(scope="session")
def crowd(fakes):
    """Twenty candidates, two of them controls, on twelve examples."""
    names = [f"learning_rate={n}e-6" for n in range(1, 19)] + ["control: sft", "control: shuffled"]
    tokens = [10, 20] * 6
    measurements = {(fakes.PERPLEXITY, "base"): fakes.scores([2.0 * n for n in tokens], tokens)}
    for place, name in enumerate(names):
        nats = [2.0 * n + (place - 9) / 2 + (0.2 if n == 20 else -0.2) for n in tokens]
        measurements[fakes.PERPLEXITY, name] = fakes.scores(nats, tokens)
        measurements[fakes.ACCURACY, name] = fakes.scores([1] * (place % 12) + [0] * (12 - place % 12))
    run = fakes.small_run(measurements)
    subjects = tuple(
        replace(each, is_control=each.name.startswith("control"), reference="base" if each.name != "base" else None)
        for each in run.subjects
    )
    return replace(run, subjects=subjects)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A running browser."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no browser: install the package chromium")
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def pages(rich, evil_run, crowd, fakes, tmp_path_factory):
    """Files of pages by name: rich, evil, crowd, sweep, and one candidate alone."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {"evil": evil_run, "crowd": crowd, "sweep": fakes.sweep_run(), "one": fakes.realistic_run()}
    texts = {"rich": rich[1]} | {name: page_of(run) for name, run in runs.items()}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}
