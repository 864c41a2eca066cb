"""The page: self-contained, literal about data, and working in a real browser where one is installed."""

import base64
import fcntl
import hashlib
import html
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparing.compare import compare
from reports.records import ExampleScore, ExampleText, Generation, MetricScores, Subject
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.page import LONGEST_ANSWER, MOST_PROMPTS, html_report, mark_changes
from reports.run_folder import read_run, write_run

EVIL = "</script><script>hacked = 1</script><img src=x onerror='hacked = 1'> & \u2028 \"quoted\" $x"
WINDOWS = ((400, "light"), (800, "light"), (1_400, "light"), (1_400, "dark"))
SECONDS = 60


class Chromium:
    """A headless browser, spoken to in the DevTools protocol over two pipes: nothing but the standard library."""

    def __init__(self, binary: str, profile: Path):
        command = [
            *(binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"),
        ]
        ends = [*os.pipe(), *os.pipe()]
        theirs_in, ours_out, ours_in, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        self._process = os.posix_spawn(binary, command, os.environ, file_actions=actions)
        for end in (*ends, theirs_in, theirs_out):
            os.close(end)
        self._out, self._in = ours_out, ours_in
        self._numbers, self._buffer, self._session, self._events = itertools.count(1), b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """Ends the browser."""
        self.call("Browser.close")
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)

    def call(self, method, **parameters):
        """The result of a command; events that come before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], SECONDS)[0], "the browser does not answer"
            received = os.read(self._in, 1 << 16)
            assert received, "the browser has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width, scheme="light"):
        """Loads a page in a window of that width."""
        self._events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        while not self._seen("Page.loadEventFired"):
            self._events.append(self._read())

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _seen(self, *methods):
        return [event["params"] for event in self._events if event.get("method") in methods]

    @property
    def problems(self):
        """Exceptions, console output and violations of the page's policy since it was opened."""
        return self._seen("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    @property
    def requests(self):
        """Addresses the page asked for since it was opened, data: aside."""
        asked = [event["request"]["url"] for event in self._seen("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A running browser."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no browser: install the package chromium")
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def _page(run):
    return html_report(run, compare(run))


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
    return run, _page(run)


def _evil_run(fakes):
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


def _data(page):
    return json.loads(
        re.search(r'<script type="application/json" id="examples-data">(.*?)</script>', page, re.DOTALL)[1]
    )


def test_the_page_loads_nothing_and_runs_its_own_script_alone(rich):
    """No address is asked for, and the policy names the hash of the one script that is there."""
    _, page = rich
    assert not re.search(r"""\b(?:src|href)=(?!["'](?:#|data:))""", page)
    assert not re.search(r"@import|url\((?!#)|\bfetch\(", page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert page.count("<script") == 2


def test_the_same_run_gives_the_same_page(rich, tmp_path):
    """Also after the run was read from its folder: no date or random number comes in."""
    run, page = rich
    write_run(run, tmp_path / "run")
    assert _page(read_run(tmp_path / "run")) == page


def test_the_page_says_what_the_markdown_says(rich, fakes):
    """Every section of the Markdown report is in the page, and the pictures stand with their words."""
    sweep = fakes.sweep_run()
    for run, page in (rich, (sweep, _page(sweep))):
        titles = re.findall(r"^## (.*)$", markdown_report(run, compare(run)), re.MULTILINE)
        sections = re.findall(r"<h2>(.*?)</h2>", page)
        assert [title for title in sections if title in titles] == sorted(titles, key=sections.index)
        assert set(titles) <= set(sections)
        verdict = page.split("<h2>Verdict</h2>")[1].split("<h2>")[0]
        assert "<svg" in verdict
        assert "95 % intervals" in verdict
        assert sections[-1] == "Provenance"


def test_sections_of_a_rich_run(rich):
    """All that the page adds to the report is there, each under its heading."""
    sections = re.findall(r"<h2>(.*?)</h2>", rich[1])
    assert {"Training", "Reward margins", "Example by example", "Answers side by side"} <= set(sections)


def test_an_empty_run_has_a_page(fakes):
    """Nothing measured: no picture, no table of examples, no error."""
    page = _page(fakes.small_run({}))
    assert "No candidate was measured" in page
    assert "<svg" not in page
    assert "examples-form" not in re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)


def test_text_of_the_data_stays_text(fakes):
    """No tag of a row becomes a tag of the page, wherever the row's text is shown."""
    page = _page(_evil_run(fakes))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert page.count("hacked = 1") > 20
    assert _data(page)["examples"][-1]["prompts"] == [EVIL]


def test_a_lone_surrogate_does_not_stop_the_page(fakes):
    """What UTF-8 cannot hold is written as its code point."""
    run = replace(fakes.realistic_run(), notes=("a \ud800 b",))
    _page(run).encode("utf-8")


def test_the_table_of_examples_holds_every_score(rich):
    """Each subject's total / count, by id, for all metrics that go by example, rulers aside."""
    run, page = rich
    data = _data(page)
    assert data["baseline"] == "base"
    assert data["candidates"] == ["dpo", "other"]
    for measurement in run.measurements:
        if not measurement.scores or measurement.subject in ("longest", "shortest", "bag of words"):
            continue
        label = f"{measurement.metric.evaluation} · {measurement.metric.name}"
        entry = next(each for each in data["metrics"] if each["label"].split(" (")[0] == label)
        ids = data["examples"][entry["examples"]]["ids"]
        values = dict(zip(ids, entry["values"][measurement.subject], strict=True))
        assert values == {
            score.example_id: pytest.approx(score.total / score.count, rel=1e-5, abs=1e-12)
            for score in measurement.scores
        }


def test_texts_and_answers_go_with_their_examples(rich):
    """Prompts and sides of pairs, prompts and answers of generations; ids are stored once where they are shared."""
    data = _data(rich[1])
    by_metric = {entry["label"].split(" (")[0]: data["examples"][entry["examples"]] for entry in data["metrics"]}
    pairs = by_metric["preferences · reward_margin"]
    assert pairs is by_metric["preferences · accuracy"]
    place = pairs["ids"].index("e0007")
    assert pairs["prompts"][place] == "Question 7?"
    assert pairs["texts"]["rejected"][place] == "Bad 7."
    asked = by_metric["answers · answer_length"]
    assert asked["prompts"][0].startswith("What is bread?")
    assert asked["answers"]["dpo"][0].startswith("I cannot explain that.")
    assert by_metric["safety · perplexity"]["prompts"] is None
    assert data["metrics"][data["first"]]["label"] == "preferences · accuracy"


def test_missing_values_are_null(fakes):
    """An example without a count has no value, and a metric with a NaN is not there at all."""
    scores = fakes.scores([1.0, 2.0], counts=[0, 1])
    run = fakes.small_run({(fakes.PERPLEXITY, name): scores for name in ("base", "dpo")})
    assert _data(_page(run))["metrics"][0]["values"]["dpo"] == [None, 2.0]
    spoilt = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores([1.0, float("nan")]) for name in ("base", "dpo")})
    assert _data(_page(spoilt))["metrics"] == []


def test_changed_words_are_marked():
    """Words without a partner on the other side, and the spaces between answers' words stay out of the marks."""
    marked = mark_changes({"base": "Bread is a food.", "dpo": "Bread is a <soft> food."}, "base")
    assert marked == {"base": "Bread is a food.", "dpo": "Bread is a <mark>&lt;soft&gt;</mark> food."}
    marked = mark_changes({"base": "one two three", "dpo": "one 2 three"}, "base")
    assert marked == {"base": "one <mark>two</mark> three", "dpo": "one <mark>2</mark> three"}


def test_the_baseline_is_marked_where_no_candidate_keeps_its_words():
    """With several candidates, a word that one of them keeps is not marked."""
    marked = mark_changes({"base": "a b c", "one": "a c", "two": "a b"}, "base")
    assert marked == {"base": "a b c", "one": "a c", "two": "a b"}
    marked = mark_changes({"base": "a b c", "one": "a c", "two": "c"}, "base")
    assert marked["base"] == "a <mark>b</mark> c"


def test_nothing_is_marked_without_a_counterpart():
    """A baseline alone, or candidates without a baseline."""
    assert mark_changes({"base": "a b"}, "base") == {"base": "a b"}
    assert mark_changes({"dpo": "a < b"}, "base") == {"dpo": "a &lt; b"}


@given(st.dictionaries(st.sampled_from(["base", "one", "two"]), st.text(alphabet="ab <&\n", max_size=30)))
def test_marks_leave_the_text_as_it_is(answers):
    """Without its marks every answer is what it was; an answer that equals the baseline's has none."""
    marked = mark_changes(answers, "base")
    for name, answer in answers.items():
        assert html.unescape(re.sub(r"</?mark>", "", marked[name])) == answer
        if name != "base" and answer == answers.get("base"):
            assert "<mark>" not in marked[name]


def test_long_answers_and_many_prompts_are_cut_and_said(fakes):
    """The page names how much of an answer, and how many prompts, it does not show."""
    answers = [
        Generation("answers", f"q{n}", "base", "", "Why?", "word " * (LONGEST_ANSWER // 5 + 1), refused=False)
        for n in range(MOST_PROMPTS + 3)
    ]
    page = _page(replace(fakes.realistic_run(), generations=tuple(answers)))
    assert "\u2026 5 more characters" in page
    assert "3 more prompts are in generations.jsonl." in page
    assert page.count("<article>") == MOST_PROMPTS


@pytest.mark.parametrize("kind", ["rich", "sweep", "evil"])
def test_the_page_in_a_browser(kind, rich, fakes, chromium, tmp_path):
    """No complaint in the console, no request, and nothing wider than the window, in light and dark."""
    pages = {
        "rich": lambda: rich[1],
        "sweep": lambda: _page(fakes.sweep_run()),
        "evil": lambda: _page(_evil_run(fakes)),
    }
    file = tmp_path / "page.html"
    file.write_text(pages[kind](), encoding="utf-8")
    colours = set()
    for width, scheme in WINDOWS:
        chromium.open(file, width, scheme)
        assert chromium.problems == []
        assert chromium.requests == [file.as_uri()]
        assert chromium.evaluate(TOO_WIDE) == []
        assert chromium.evaluate("typeof hacked") == "undefined"
        colours.add(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


TOO_WIDE = """(() => {
  const width = document.documentElement.clientWidth;
  const wide = [...document.body.querySelectorAll("*")].filter((each) =>
    !each.closest(".scroll table, .wide table, svg g") && each.getBoundingClientRect().right > width + 1);
  const table = document.querySelector(".wide"); // scrolls on middling screens, and is a list on narrow ones
  if (table && width < 700 && table.scrollWidth > table.clientWidth) wide.push(table);
  return [...(document.documentElement.scrollWidth > width ? ["page"] : []), ...wide.map((each) => each.outerHTML)];
})()"""
ROWS = """[...document.querySelectorAll("#examples tbody tr")].map((row) =>
  [...row.cells].map((cell) => cell.textContent))"""
SETTING = """((name, value) => {
  const field = document.getElementById("examples-form").elements[name];
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  return document.getElementById("examples-count").textContent;
})"""
CLICK = """((name) => [...document.querySelectorAll("#examples th button, #examples-pages button")]
  .find((button) => button.textContent.startsWith(name)).click())"""


@pytest.fixture
def examples(rich, chromium, tmp_path):
    """The browser at the table of examples of a rich run."""
    file = tmp_path / "page.html"
    file.write_text(rich[1], encoding="utf-8")
    chromium.open(file, 1_400)
    return chromium


def _choose(browser, label):
    options = browser.evaluate("[...document.querySelector('[name=metric]').options].map((each) => each.textContent)")
    return browser.evaluate(f"{SETTING}('metric', '{options.index(label)}')")


def test_the_table_sorts(rich, fakes, examples):
    """It starts with what moved most; a click on a column sorts by it, another one turns the order round."""
    run, _ = rich
    _choose(examples, "truthfulness · perplexity")
    nats = {each.subject: each.scores for each in run.measurements if each.metric == fakes.PERPLEXITY}
    moved = {
        a.example_id: a.total / a.count - b.total / b.count for a, b in zip(nats["dpo"], nats["base"], strict=True)
    }
    first = sorted(moved, key=lambda example: -abs(moved[example]))[:50]
    assert [row[0] for row in examples.evaluate(ROWS)] == first
    for descending in (True, False):
        examples.evaluate(f"{CLICK}('Difference')")
        expected = sorted(moved, key=moved.get, reverse=descending)[:50]
        assert [row[0] for row in examples.evaluate(ROWS)] == expected
        order = examples.evaluate("document.querySelector('#examples th[aria-sort]').ariaSort")
        assert order == ("descending" if descending else "ascending")
    examples.evaluate(f"{CLICK}('Example')")
    assert [row[0] for row in examples.evaluate(ROWS)] == sorted(moved)[:50]
    assert examples.problems == []


def test_the_table_filters(examples):
    """By words in any text, by direction, by candidate; the count says how many are left."""
    assert _choose(examples, "preferences · reward_margin (nats)").startswith("120 of 120 examples")
    assert examples.evaluate(f"{SETTING}('words', 'good 117')").startswith("1 of 120 examples")
    ((_, prompt, chosen, rejected, baseline, *_),) = examples.evaluate(ROWS)
    assert (prompt, chosen, rejected, baseline) == ("Question 117?", "Good 117.", "Bad 117.", "0")
    examples.evaluate(f"{SETTING}('words', '')")
    n_shown = [
        int(examples.evaluate(f"{SETTING}('moved', '{moved}')").split()[0])
        for moved in ("higher", "lower", "equal", "all")
    ]
    assert sum(n_shown[:3]) == n_shown[3] == 120
    before = examples.evaluate(ROWS)
    examples.evaluate(f"{SETTING}('candidate', 'other')")
    assert examples.evaluate(ROWS) != before
    assert examples.problems == []


def test_the_table_turns_pages(examples):
    """Fifty examples a page, and every example on exactly one of them."""
    _choose(examples, "preferences · accuracy")
    seen = []
    for page in (1, 2, 3):
        assert f"Page {page} of 3" in examples.evaluate("document.getElementById('examples-pages').textContent")
        seen += [row[0] for row in examples.evaluate(ROWS)]
        examples.evaluate(f"{CLICK}('Next')")
    assert len(set(seen)) == len(seen) == 120


def test_the_table_shows_answers(examples):
    """Of generations it shows the prompt and both answers, as text."""
    _choose(examples, "answers · answer_length (tokens per answer)")
    rows = {row[0]: row for row in examples.evaluate(ROWS)}
    assert rows["q1"][2].startswith("Bread is a food made of flour & water.")
    assert "<script>alert(1)</script>" in rows["q1"][2]
    assert rows["q1"][3].startswith("I cannot explain that.")
    assert rows["q1"][-3:] == ["5", "6", "+1"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the largest memory from")
def test_fifty_thousand_examples_within_thirty_seconds_and_a_gibibyte(fakes, tmp_path):
    """`harness report` in all formats, in a process of its own that tells its largest memory at the end."""
    n, rng = 50_000, np.random.default_rng(0)
    tokens = rng.integers(5, 200, n)
    base = tokens * rng.normal(2, 0.3, n)
    measurements = [
        MetricScores(fakes.PERPLEXITY, name, fakes.scores(base + shift * tokens, tokens, np.arange(n)))
        for name, shift in (("base", 0), ("dpo", rng.normal(-0.02, 0.05, n)))
    ]
    texts = tuple(
        ExampleText(f"e{k:04d}", "truthfulness", "Some words. " * 20, {"right": "Yes. " * 20}) for k in range(n)
    )
    run = replace(
        fakes.small_run({}),
        subjects=(Subject("base", "baseline", ""), Subject("dpo", "candidate", "")),
        measurements=tuple(measurements),
        examples=texts,
    )
    write_run(run, tmp_path / "run")
    code = """
import atexit, sys
# VmHWM, because getrusage's peak is inherited from the process that started this one.
atexit.register(lambda: print([line for line in open("/proc/self/status") if "VmHWM" in line], file=sys.stderr))
from harness.cli import main
main()
"""
    arguments = ("report", tmp_path / "run", "--format", "md,csv,json,latex,html", "--out", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        timeout=30,
        cwd=Path(__file__).parents[4],
        stderr=subprocess.PIPE,
        text=True,
    )
    peak_kibibytes = int(re.findall(r"VmHWM:\\t *(\d+) kB", done.stderr)[-1])
    assert peak_kibibytes < 2**20
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000_000
