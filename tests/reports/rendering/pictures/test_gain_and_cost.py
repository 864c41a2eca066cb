"""Gain against cost: each candidate where its numbers are, its largest loss, and labels that do not overlap."""

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from reports.rendering.content.display import cells
from reports.rendering.pictures.gain_and_cost import gain_and_cost_picture


@pytest.fixture(scope="module")
def matrix(fakes, pictures):
    """A matrix of three candidates with a reward accuracy, a task and perplexities."""
    return pictures.matrix(fakes.realistic_run(("one", "two", "three")))


def _data(picture):
    return {row[0]: dict(zip(picture.header, row, strict=True)) for row in picture.rows}


def _with(matrix, place, metric_place, **changes):
    """The matrix with another comparison in a cell."""
    rows = list(matrix.rows)
    of_row = list(rows[place].cells)
    of_row[metric_place] = replace(of_row[metric_place], comparison=replace(of_row[metric_place].comparison, **changes))
    rows[place] = replace(rows[place], cells=tuple(of_row))
    return replace(matrix, rows=tuple(rows))


def _place(matrix, name):
    return next(place for place, metric in enumerate(matrix.metrics) if name in metric)


def _many(fakes, pictures, names):
    """A matrix of candidates that gain more and lose more, most of them close to each other."""
    matrix = pictures.matrix(fakes.realistic_run(("one", "two")))
    accuracy, task = _place(matrix, "accuracy"), _place(matrix, "mc1")
    rng = np.random.default_rng(0)
    rows = []
    for place, name in enumerate(names):
        row = _with(matrix, 0, accuracy, difference=0.1 + 0.01 * place * rng.random(), interval=(0.05, 0.2))
        row = _with(row, 0, task, difference=-0.004 * place, interval=(-0.05 - 0.004 * place, 0.03)).rows[0]
        rows.append(replace(row, subject=name, is_chosen=place == 3, is_control=place > len(names) - 3))
    return replace(matrix, rows=tuple(rows))


def test_the_largest_loss_is_the_worst_change_in_percentage_points(matrix):
    """Of the task, although a perplexity got worse by more percent; gains are those of the reward accuracy."""
    picture = gain_and_cost_picture(matrix)
    accuracy, task = _place(matrix, "accuracy"), _place(matrix, "mc1")
    for row in matrix.rows:
        line = _data(picture)[row.subject]
        assert line["gain"] == cells(row.cells[accuracy].comparison).difference_number
        assert line["change at the largest loss"] == cells(row.cells[task].comparison).difference_number
        assert (line["unit"], line["metric of the largest loss"]) == ("pp", "lm_eval, truthfulqa_mc1 acc")
    assert "points of accuracy" in picture.note


def test_without_percentages_the_cost_is_that_of_perplexities(matrix):
    """A perplexity that rises by 5 % is a loss of 5 %, with the ends of its interval turned round."""
    task = _place(matrix, "mc1")
    keep = [place for place in range(len(matrix.metrics)) if place != task and "safety" not in matrix.metrics[place]]
    less = replace(
        matrix,
        metrics=tuple(matrix.metrics[place] for place in keep),
        rows=tuple(replace(row, cells=tuple(row.cells[place] for place in keep)) for row in matrix.rows),
    )
    less = _with(less, 0, _place(less, "truthfulness"), difference=math.log(1.05), interval=(0.01, 0.09))
    picture = gain_and_cost_picture(less)
    line = _data(picture)["one"]
    assert line["change at the largest loss"] == pytest.approx(-5)
    assert line["low"] == pytest.approx(-100 * math.expm1(0.09))
    assert line["high"] == pytest.approx(-100 * math.expm1(0.01))
    assert line["unit"] == "%"
    assert "There is no primary metric in percentage points" in picture.note


def test_marks_are_drawn_to_scale(matrix, pictures):
    """A line through the ticks of the horizontal axis leads from each gain to its mark."""
    picture = gain_and_cost_picture(matrix)
    ticks = {}
    for text in pictures.drawn_texts(picture.svg):
        if text.anchor == "middle" and text.words.lstrip("+\u2212").replace(".", "").isdigit():
            ticks[float(text.words.replace("\u2212", "-"))] = text.x
    slope, offset = np.polyfit(list(ticks), list(ticks.values()), 1)
    chosen = next(each for each in ET.fromstring(picture.svg).iter(f"{pictures.SVG}circle") if each.get("r") == "12")
    assert float(chosen.get("cx")) == pytest.approx(slope * _data(picture)["one"]["gain"] + offset, abs=0.1)


@pytest.mark.parametrize("names", ["plain", "hostile", "long", "chinese"])
def test_twenty_candidates_keep_their_labels_apart(fakes, pictures, names):
    """Every one is named, nothing overlaps, and the lines of zero are free of text."""
    of_names = {
        "plain": [f"learning_rate={place + 1}e-6" for place in range(20)],
        "hostile": [f"{place} {pictures.HOSTILE}" for place in range(20)],
        "long": [f"{pictures.LONG} {place}" for place in range(20)],
        "chinese": [f"{pictures.CHINESE} {place}" for place in range(20)],
    }
    picture = gain_and_cost_picture(_many(fakes, pictures, of_names[names]))
    ET.fromstring(picture.svg)
    pictures.check_geometry(picture.svg)
    words = [each.words for each in pictures.drawn_texts(picture.svg)]
    if names == "plain":
        for place in range(20):
            assert f"{place + 1}e-6" + (" \u2605" if place == 3 else "") in words
    zero = [each for each in ET.fromstring(picture.svg).iter(f"{pictures.SVG}line") if each.get("class") == "soft"]
    for line in [each for each in zero if float(each.get("stroke-width")) == 1]:
        box = pictures.Box(*(float(line.get(name)) for name in ("x1", "y1", "x2", "y2")))
        if (box.right - box.left > 300 or box.bottom - box.top > 200) and box.top < 350:
            assert not [each for each in pictures.drawn_texts(picture.svg) if each.box.overlaps(box)]


def test_the_chosen_one_and_controls_are_marked(fakes, pictures):
    """A ring and a star, and a diamond; the legend says so."""
    picture = gain_and_cost_picture(_many(fakes, pictures, [f"c{place}" for place in range(6)]))
    words = [each.words for each in pictures.drawn_texts(picture.svg)]
    assert {"c3 \u2605", "chosen", "control"} <= set(words)
    assert [row[0] for row in picture.rows if row[2] == "true"] == ["c4", "c5"]
    assert [row[0] for row in picture.rows if row[1] == "true"] == ["c3"]


def test_what_cannot_be_placed_is_left_out(matrix):
    """A candidate without a finite gain; with fewer than two others there is no picture."""
    accuracy = _place(matrix, "accuracy")
    broken = _with(matrix, 0, accuracy, difference=math.inf)
    assert list(_data(gain_and_cost_picture(broken))) == ["two", "three"]
    assert gain_and_cost_picture(_with(broken, 1, accuracy, difference=None)) is None


def test_ends_that_are_not_finite_leave_a_picture(matrix, pictures):
    """An infinite interval reaches to the end of the axis."""
    accuracy = _place(matrix, "accuracy")
    picture = gain_and_cost_picture(_with(matrix, 0, accuracy, interval=(-math.inf, math.inf)))
    pictures.check_geometry(picture.svg)


def test_without_a_reward_accuracy_there_is_no_picture(matrix):
    """Nothing is called a gain that is none."""
    accuracy = _place(matrix, "accuracy")
    keep = [place for place in range(len(matrix.metrics)) if place != accuracy]
    less = replace(
        matrix,
        metrics=tuple(matrix.metrics[place] for place in keep),
        rows=tuple(replace(row, cells=tuple(row.cells[place] for place in keep)) for row in matrix.rows),
    )
    assert gain_and_cost_picture(less) is None
