"""The page as a whole: self-contained, literal about data, and the same for the same run."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html import escape, unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from reported import page_of, report_of

from reports.records import ExampleText, MetricScores, Subject
from reports.rendering.content.names import metric_names
from reports.rendering.formats.page.templates import diff_library, template
from reports.run_folder import read_run, write_run

DIFF_9_0_0 = "b51a9d2885f2c090dc97b981027395f7e7e6558a46c75ae3747db267913a89ab"
"""SHA-256 of dist/diff.min.js in the npm package diff 9.0.0."""


def _data(page):
    return re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]


def test_the_page_loads_nothing_and_runs_its_own_scripts_alone(rich):
    """No address is asked for, and the policy names the hash of every script that is there."""
    _, page = rich
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""\b(?:src|href)=(?!["'](?:#|data:))""", markup)
    assert not re.search(r"@import|url\((?!#)|\bfetch\(|XMLHttpRequest|\bimport\(", page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes};" in page
    assert page.count("<script") == len(scripts) + 1 == 3


def test_the_page_without_data_is_small(rich):
    """Styles, scripts, the vendored library and the pictures of a rich run take less than 1.5 MB."""
    _, page = rich
    assert len(page.encode()) - len(_data(page).encode()) < 1_500_000


def test_the_vendored_library_is_the_package_s_own():
    """It is the file of the pinned release, unchanged, and its licence goes with it into the page."""
    assert hashlib.sha256(template("vendored/diff.min.js").encode()).hexdigest() == DIFF_9_0_0
    assert "Redistribution and use in source and binary forms" in diff_library()


def test_the_same_run_gives_the_same_page(rich, tmp_path):
    """Also after the run was read from its folder: no date or random number comes in."""
    run, page = rich
    write_run(run, tmp_path / "run")
    assert page_of(read_run(tmp_path / "run")) == page


def test_the_page_says_what_the_other_reports_say(rich, fakes):
    """The sentence and every line of the headline, every metric by its name, and every section are in the page."""
    for run in (rich[0], fakes.sweep_run(), fakes.realistic_run()):
        page, report = unescape(page_of(run)).replace("\u00a0", " "), report_of(run)
        said = report.headline
        assert f">{said.sentence}</h1>" in page
        assert all(line.text in page for line in said.lines if line.kind != "believe it?")
        assert all(limit in page for limit in said.limits)
        names = metric_names(run)
        assert all(names[row.metric] in page for row in report.comparisons if row.primary)
        titles = [each.title for each in report.sections[2:]]
        assert all(re.search(rf"<h[23][^>]*>{re.escape(title)}</h[23]>", page) for title in titles)


def test_the_order_of_the_page(rich):
    """Headline, table, pictures, sections, answers, examples; the headings go down by one."""
    page = rich[1]
    places = [page.index(f'id="{each}"') for each in ("said", "results", "part-pictures", "part-sections")]
    places += [page.index(f'id="{each}"') for each in ("part-answers", "part-examples")]
    assert places == sorted(places)
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_an_empty_run_has_a_page(fakes):
    """Nothing measured: no table, no picture, no examples, no error."""
    page = page_of(fakes.small_run({}))
    markup = re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert "No candidate was measured" in markup
    assert "<svg" not in markup
    assert "examples-form" not in markup


def test_text_of_the_data_stays_text(evil_run):
    """No tag of a row becomes a tag of the page, wherever the row's text is shown."""
    page = page_of(evil_run)
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img" not in page
    assert page.count("hacked = 1") > 20
    assert escape(evil_run.name)[:30] in page


def test_every_text_of_the_data_says_its_direction(evil_run):
    """What holds a text of the data has a direction of its own, so that Arabic does not turn ours round."""
    markup = re.sub(r"<script.*?</script>|<style>.*?</style>|<svg.*?</svg>", "", page_of(evil_run), flags=re.DOTALL)
    body = markup[markup.index("<body>") :]
    holders = re.findall(r"<([a-z0-9]+)([^<>]*)>[^<>]*&lt;/script&gt;", body)
    assert len(holders) > 20
    assert [holder for holder in holders if holder[0] != "bdi" and 'dir="auto"' not in holder[1]] == []


def test_a_lone_surrogate_does_not_stop_the_page(fakes):
    """What UTF-8 cannot hold is written as its code point."""
    run = replace(fakes.realistic_run(), notes=("a \ud800 b",))
    page_of(run).encode("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the largest memory from")
def test_fifty_thousand_examples_within_thirty_seconds_and_half_a_gibibyte(fakes, tmp_path):
    """`harness report` in all formats, in a process of its own that tells its largest memory at the end.

    The page has the 5,000 examples that moved most, and stays under 20 MB however long their texts are.
    """
    n, rng = 50_000, np.random.default_rng(0)
    tokens = rng.integers(5, 200, n)
    base = tokens * rng.normal(2, 0.3, n)
    measurements = [
        MetricScores(fakes.PERPLEXITY, name, fakes.scores(base + shift * tokens, tokens, np.arange(n)))
        for name, shift in (("base", 0), ("dpo", rng.normal(-0.02, 0.05, n)))
    ]
    texts = tuple(
        ExampleText(f"e{k:04d}", "truthfulness", "Some words. " * 166, {"right": "Yes. " * 400}) for k in range(n)
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
        cwd=Path(__file__).parents[5],
        stderr=subprocess.PIPE,
        text=True,
    )
    peak_kibibytes = int(re.findall(r"VmHWM:\\t *(\d+) kB", done.stderr)[-1])
    assert peak_kibibytes < 2**19
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(page) < 20_000_000
    assert "5,000 of 50,000 examples are on this page: those that moved most; texts are cut to 1,000 characters" in page
    assert len(json.loads(_data(page))["examples"][0]["ids"]) == 5_000
