"""The page in a real browser, where one is installed."""

import fcntl
import itertools
import json
import os
import select
import shutil
from pathlib import Path

import pytest

from reports.comparing.compare import compare
from reports.rendering.formats.page import html_report

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


@pytest.mark.parametrize("kind", ["rich", "sweep", "evil"])
def test_the_page_in_a_browser(kind, rich, evil_run, fakes, chromium, tmp_path):
    """No complaint in the console, no request, and nothing wider than the window, in light and dark."""
    pages = {
        "rich": lambda: rich[1],
        "sweep": lambda: html_report(fakes.sweep_run(), compare(fakes.sweep_run())),
        "evil": lambda: html_report(evil_run, compare(evil_run)),
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
