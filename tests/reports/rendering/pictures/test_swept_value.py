"""The picture of a sweep: every adapter at its value, on an axis that suits the values."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.rendering.content.display import cells
from reports.rendering.pictures.swept_value import swept_value_picture


def _picture(run):
    comparisons = compare(run)
    return swept_value_picture(run, comparisons, over_seeds(run, comparisons))


def _sweep(fakes, pictures, names):
    run = fakes.realistic_run(tuple(f"c{place}" for place in range(len(names))))
    return pictures.renamed(run, names)


def test_every_adapter_is_a_dot_at_its_value(fakes):
    """Seeds of one recipe stand above each other; controls and other models are left out."""
    run = fakes.sweep_run()
    picture = _picture(run)
    found = {(row[4], row[2]) for row in picture.rows}
    assert found == {
        *((f"{fakes.LR}, {seed}", "1e-5") for seed in fakes.SHIFTS),
        ("learning_rate=5e-6", "5e-6"),
    }
    assert picture.svg.count("<circle") == len(picture.rows)
    for row in compare(run):
        if row.primary and row.candidate == "learning_rate=5e-6":
            assert cells(row).difference_number in [line[5] for line in picture.rows if line[4] == row.candidate]


@pytest.mark.parametrize(
    ("values", "is_even"),
    [(("1e-6", "1e-5", "1e-4"), True), (("0.1", "0.2", "0.5"), False), (("dpo", "ipo", "kto"), True)],
)
def test_the_axis_suits_the_values(fakes, pictures, values, is_even):
    """A logarithm where values are spread, even steps for words, and otherwise a plain axis."""
    picture = _picture(_sweep(fakes, pictures, [f"beta={value}" for value in values]))
    places = {each.words: each.x for each in pictures.drawn_texts(picture.svg) if each.words in values and each.x < 250}
    first, second, third = (places[value] for value in values)
    assert (second - first == pytest.approx(third - second, abs=0.1)) == is_even
    assert first < second < third
    pictures.check_geometry(picture.svg)


def test_other_swept_settings_are_lines_of_their_own(fakes, pictures):
    """The key with most values is the axis; a legend names each value of the other."""
    names = [f"learning_rate={rate}, beta={beta}" for beta in ("0.1", "0.5") for rate in ("1e-6", "1e-5", "1e-4")]
    picture = _picture(_sweep(fakes, pictures, names))
    words = [each.words for each in pictures.drawn_texts(picture.svg)]
    assert {"beta=0.1", "beta=0.5", "learning rate"} <= set(words)
    assert "series-1" in picture.svg
    pictures.check_geometry(picture.svg)


@pytest.mark.parametrize("value", ["HOSTILE", "CHINESE", "RIGHT_TO_LEFT"])
def test_any_value_stays_text(fakes, pictures, value):
    """A swept word may be anything that a configuration holds."""
    value = getattr(pictures, value).replace(",", "")
    picture = _picture(_sweep(fakes, pictures, [f"method={value} {place}" for place in range(2)]))
    ET.fromstring(picture.svg)
    assert "<script" not in picture.svg
    pictures.check_geometry(picture.svg)


def test_twenty_values_keep_their_texts_apart(fakes, pictures):
    """Those that would overlap are left out; the dots stay."""
    names = [f"learning_rate={place + 1}.5e-6" for place in range(20)]
    picture = _picture(_sweep(fakes, pictures, names))
    assert len({row[2] for row in picture.rows}) == 20
    pictures.check_geometry(picture.svg)


def test_a_configuration_says_what_was_swept(fakes, pictures):
    """A key in the names that it does not list is not an axis."""
    run = _sweep(fakes, pictures, ["a=1, b=1", "a=2, b=2", "a=2, b=3"])
    assert _picture(run).title.endswith("by b")
    assert _picture(replace(run, config={"sweep": {"training.a": [1, 2]}})).title.endswith("by a")


def test_without_a_sweep_there_is_no_picture(fakes, pictures):
    """One candidate, names without values, and one value."""
    assert _picture(fakes.realistic_run()) is None
    assert _picture(fakes.realistic_run(("a", "b"))) is None
    assert _picture(_sweep(fakes, pictures, ["beta=0.1, seed 1", "beta=0.1, seed 2"])) is None
