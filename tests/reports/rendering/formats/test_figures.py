"""Pictures: what is in them, that names stay text, and that no colour is fixed."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.rendering.content.display import MINUS, cells
from reports.rendering.formats.figures import (
    MOST_POINTS,
    forest_plots,
    margin_histograms,
    scatters,
    series,
    training_curves,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(fakes):
    """A run of two candidates whose margins go by the name that the suites give them."""
    run = fakes.realistic_run(("a", "b"))
    renamed = tuple(
        replace(each, metric=replace(each.metric, name="reward_margin")) if each.metric == fakes.MARGIN else each
        for each in run.measurements
    )
    return replace(run, measurements=renamed)


def _words(picture):
    return [element.text for element in ET.fromstring(picture.svg).iter(f"{SVG}text")]


def _all(run):
    return [*forest_plots(compare(run)), *training_curves(run), *margin_histograms(run), *scatters(run, "a")]


@pytest.fixture(scope="module")
def pictures(run):
    """All pictures of the run."""
    return _all(run)


def test_pictures_hold_no_colour_and_no_size_of_their_own(pictures):
    """The page decides on both; ids of groups, which would stand twice in a page, are gone."""
    assert len(pictures) == 4 + 3 + 1 + 3
    for picture in pictures:
        root = ET.fromstring(picture.svg)
        assert root.get("viewBox").startswith("0 0 360 ")
        assert root.get("width") is root.get("height") is None
        assert not re.search(r"#[0-9a-f]{6}\b", picture.svg)
        assert "var(--" in picture.svg
        assert "<g id" not in picture.svg
        assert "metadata" not in picture.svg


def test_the_same_run_gives_the_same_pictures(run, pictures):
    """No dates, no random ids."""
    assert _all(run) == pictures


def test_names_stay_text(fakes):
    """Tags, formulas and letters that the font lacks come out as they went in."""
    name = "<script>alert(1)</script> $x^2$ 中"
    run = fakes.realistic_run((name, "b"))
    for picture in forest_plots(compare(run)):
        assert name in _words(picture)
        assert "<script" not in picture.svg


def test_a_forest_names_every_difference_with_its_interval(run):
    """Several candidates: a picture a metric, a line a candidate, with the numbers of the tables."""
    comparisons = compare(run)
    for picture in forest_plots(comparisons):
        rows = [r for r in comparisons if r.primary and f"{r.metric.evaluation} · {r.metric.name}" == picture.title]
        assert len(rows) == 2
        words = _words(picture)
        for row in rows:
            shown = cells(row)
            assert row.candidate in words
            assert f"{shown.difference} {shown.interval}" in words


def test_one_candidate_has_a_forest_a_unit(fakes):
    """Percentage points and percents are not put on one axis."""
    pictures = forest_plots(compare(fakes.realistic_run()))
    assert [picture.title for picture in pictures] == ["In percentage points", "In percent"]
    assert "truthfulness · perplexity" in _words(pictures[1])


def test_a_forest_is_drawn_to_scale(fakes):
    """Dot and interval lie where the axis says they do, in the colour of the outcome."""
    run = fakes.realistic_run()
    row = next(row for row in compare(run) if row.metric == fakes.ACCURACY and row.against == "definition")
    (picture,) = forest_plots([row])
    root = ET.fromstring(picture.svg)
    ticks = {
        float(text.text.replace(MINUS, "-")): float(text.get("x"))
        for text in root.iter(f"{SVG}text")
        if re.fullmatch(rf"{MINUS}?[\d.]+", text.text)
    }
    slope, offset = np.polyfit(list(ticks), list(ticks.values()), 1)
    line = next(p for p in root.iter(f"{SVG}path") if "stroke: var(--better); stroke-width: 2" in p.get("style", ""))
    left, right = (float(x) for x in re.findall(r"[ML] ([\d.]+)", line.get("d")))
    assert left == pytest.approx(slope * 100 * row.interval[0] + offset, abs=0.01)
    assert right == pytest.approx(slope * 100 * row.interval[1] + offset, abs=0.01)


def test_a_difference_without_an_interval_is_a_hollow_dot(fakes):
    """Nothing is drawn that was not computed."""
    few = fakes.scores([1, 0, 1])
    run = fakes.small_run({(fakes.MC1, "base"): few, (fakes.MC1, "dpo"): fakes.scores([0, 0, 1])})
    (picture,) = forest_plots(compare(run))
    assert "stroke-width: 2;" not in picture.svg
    assert "fill-opacity: 0; stroke: var(--faint)" in picture.svg
    assert f"{cells(compare(run)[0]).difference}" in _words(picture)


def test_a_difference_beyond_all_doubles_leaves_a_picture(fakes):
    """A perplexity that grew by exp(800) is said to have grown without end."""
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores([1.0, 2.0] * 20),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([800.0, 802.0, 805.0, 809.0] * 10),
        }
    )
    (picture,) = forest_plots(compare(run))
    assert any("\u221e" in word for word in _words(picture))


def test_training_curves_show_what_was_logged(fakes):
    """One picture a field; where SFT was trained beside DPO, its loss has a scale of its own."""
    single = training_curves(fakes.realistic_run())
    assert [picture.title for picture in single] == ["Loss", "Reward accuracy", "Reward margin (nats)"]
    run = fakes.sweep_run()
    rows = tuple(
        row if "sft" in row["candidate"] or row["kind"] != "train" else row | {"rewards/margins": 0.1}
        for row in run.training
    )
    pictures = {picture.title: picture for picture in training_curves(replace(run, training=rows))}
    assert list(pictures) == ["Loss", "Loss of SFT", "Reward accuracy", "Reward margin (nats)"]
    assert pictures["Loss of SFT"].candidates == ("control: sft on chosen",)
    assert set(pictures["Reward margin (nats)"].candidates) == {*series(run)} - {
        *("control: sft on chosen", "unquantised", "merged")
    }


def test_a_diverged_loss_leaves_a_picture(fakes):
    """Rows whose loss is null, as a NaN is on disk, are left out of the line."""
    rows = ({"kind": "train", "step": 1, "loss": 0.7}, {"kind": "train", "step": 2, "loss": None})
    (picture,) = training_curves(fakes.small_run({}, training=rows))
    assert picture.title == "Loss"
    assert not training_curves(fakes.small_run({}, training=rows[1:]))


def test_margins_are_drawn_for_each_candidate(run):
    """An outline a candidate in the colour that it has everywhere."""
    (picture,) = margin_histograms(run)
    assert picture.candidates == ("a", "b")
    for colour in series(run).values():
        assert f"stroke: var(--{colour})" in picture.svg


def test_a_scatter_counts_and_draws_its_examples(run, fakes):
    """The note counts both sides of the line over all examples, and every one of a few is a dot."""
    measured = {each.subject: each.scores for each in run.measurements if each.metric == fakes.PERPLEXITY}
    rises = sum(a.total > b.total for a, b in zip(measured["a"], measured["base"], strict=True))
    picture = next(picture for picture in scatters(run, "a") if picture.title == "truthfulness · perplexity")
    assert picture.note == f"Of 70 examples {rises} lie above the line, {70 - rises} below it."
    assert picture.svg.count('style="fill: var(--series-0); fill-opacity') == 70


def test_a_scatter_of_many_is_a_sample(fakes):
    """More points than a page should hold are thinned, and the note says so."""
    n = MOST_POINTS + 100
    rng = np.random.default_rng(0)
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rng.normal(2, 0.3, n)) for name in ("base", "dpo")})
    (picture,) = scatters(run, "dpo")
    assert f"A random {MOST_POINTS:,} are drawn." in picture.note
    assert picture.svg.count('style="fill: var(--series-0); fill-opacity') == MOST_POINTS


def test_outcomes_are_bubbles_with_their_numbers(fakes):
    """Of wins and losses the four corners are counted."""
    run = fakes.small_run(
        {
            (fakes.MC1, "base"): fakes.scores([0, 0, 0, 1, 1, 1, 1]),
            (fakes.MC1, "dpo"): fakes.scores([0, 1, 1, 0, 1, 1, 1]),
        }
    )
    (picture,) = scatters(run, "dpo")
    assert sorted(word for word in _words(picture) if word in ["1", "2", "3"]) == ["1", "1", "2", "3"]
    assert picture.note == "Of 7 examples 2 lie above the line, 1 below it."


def test_runs_without_numbers_have_no_pictures(fakes):
    """An empty run, and a candidate that shares no metric with the baseline."""
    empty = fakes.small_run({})
    assert _all(empty) == []
    assert scatters(fakes.small_run({(fakes.PERPLEXITY, "dpo"): fakes.scores([1, 2])}), "dpo") == []
