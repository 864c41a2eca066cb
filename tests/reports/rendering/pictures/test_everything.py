"""All pictures together: one of each name, the same bytes twice, and nothing hostile in any."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import made_up_runs
import pytest
from reported import report_of, swept, twenty_candidates

from reports.rendering.content.report import Report
from reports.rendering.pictures.drawing.palette import LIGHT
from reports.rendering.pictures.everything import all_pictures

NAMES = ("differences", "gain-and-cost", "swept-value", "margins", "training", "calibration")


def _pictures(run):
    return all_pictures(report_of(run))


@pytest.fixture(scope="module")
def sweep():
    """The pictures of a sweep with seeds and controls."""
    return all_pictures(swept())


def test_a_sweep_has_every_picture(sweep, pictures):
    """Each with its own name, its data, and texts that do not overlap."""
    assert tuple(each.name for each in sweep) == NAMES
    for picture in sweep:
        pictures.check_geometry(picture.svg)
        assert picture.rows
        assert all(len(row) == len(picture.header) for row in picture.rows)


def test_one_candidate_has_its_pictures():
    """Nothing that takes several."""
    names = [each.name for each in _pictures(made_up_runs.default_like_run())]
    assert names == ["differences", "margins", "training", "calibration"]


def test_twenty_candidates_are_drawn(pictures):
    """Every picture is there, and nothing overlaps."""
    found = all_pictures(twenty_candidates())
    assert tuple(each.name for each in found) == NAMES
    for picture in found:
        pictures.check_geometry(picture.svg)


def test_the_same_run_gives_the_same_bytes(sweep):
    """So that a report under version control does not change by itself."""
    run, comparisons = swept().run, swept().comparisons
    again = replace(run, measurements=tuple(replace(each) for each in run.measurements))
    assert all_pictures(Report(again, list(comparisons))) == sweep


def test_pictures_hold_no_script_and_no_address(sweep):
    """Static: no script, no style, no link, nothing that is loaded."""
    for picture in sweep:
        root = ET.fromstring(picture.svg)
        assert {each.tag.partition("}")[2] for each in root.iter()} <= {
            *("svg", "g", "title", "desc", "line", "path", "circle", "rect", "text"),
        }
        names = {name for each in root.iter() for name in each.attrib}
        assert not [name for name in names if name.startswith("on") or "href" in name or name in ("style", "id")]


def test_every_colour_is_one_of_the_palette_under_its_class(sweep):
    """Light in the file, restyled by class on the page: an area has no stroke, a line no fill."""
    for picture in sweep:
        for each in ET.fromstring(picture.svg).iter():
            colours = {each.get("fill"), each.get("stroke")} - {None, "none"}
            if colours:
                assert colours == {LIGHT[each.get("class")]}


def test_screen_readers_are_told_title_and_numbers(sweep, pictures):
    """A title and a description in each."""
    for picture in sweep:
        root = ET.fromstring(picture.svg)
        assert root.get("role") == "img"
        assert root.findtext(f"{pictures.SVG}title") == picture.title
        assert len(root.findtext(f"{pictures.SVG}desc")) > 20


def test_no_picture_in_nats_is_called_perplexity(sweep):
    """Perplexities are in percent; what is in nats says what it is."""
    for picture in sweep:
        if "perplexity" in picture.title.lower():
            assert "nats" not in picture.svg


@pytest.mark.parametrize("run", ["empty", "without candidates", "missing"])
def test_runs_without_numbers_have_no_pictures(fakes, run):
    """Whatever is lacking, there is no error."""
    runs = {
        "empty": fakes.small_run({}),
        "without candidates": fakes.small_run({(fakes.PERPLEXITY, "base"): fakes.scores([1, 2])}),
        "missing": fakes.small_run({(fakes.PERPLEXITY, "dpo"): fakes.scores([1, 2])}),
    }
    assert _pictures(runs[run]) == ()


def test_a_hostile_run_is_text(fakes, pictures):
    """Names of candidates, metrics, evaluations and units in every picture."""
    run = fakes.sweep_run()
    names = [f"{pictures.HOSTILE}={place}, seed 1" for place in range(len(run.candidates))]
    hostile = pictures.renamed(run, names)
    measured = tuple(
        replace(each, metric=replace(each.metric, evaluation=pictures.HOSTILE + each.metric.evaluation))
        for each in hostile.measurements
    )
    for picture in _pictures(replace(hostile, measurements=measured, training=())):
        ET.fromstring(picture.svg)
        assert "<script" not in picture.svg
        pictures.check_geometry(picture.svg)
