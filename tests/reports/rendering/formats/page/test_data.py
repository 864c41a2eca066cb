"""The data of the page: examples with their scores and texts, answers, and what pictures show."""

import csv
import io
from dataclasses import replace

import pytest

from reports.records import ExampleText, Generation
from reports.rendering.content.names import metric_names
from reports.rendering.formats.page.answers import LONGEST_ANSWER, MOST_PROMPTS, answers_data
from reports.rendering.formats.page.data import json_in_html, n_bytes
from reports.rendering.formats.page.example_sets import MOST_EXAMPLES, example_sets
from reports.rendering.formats.page.examples import examples_data, examples_part, fitting_examples
from reports.rendering.formats.page.pictures import figure, picture_data
from reports.rendering.formats.page.templates import template
from reports.rendering.pictures.picture import Picture

RULERS = ("longest", "shortest", "bag of words")


def _data(run):
    return examples_data(run, answers_data(run), example_sets(run, MOST_EXAMPLES))


def test_every_score_is_there(rich):
    """Each subject's total / count, by id, for all metrics that go by example, rulers aside."""
    run, _ = rich
    data = _data(run)
    measured = [each for each in run.measurements if each.scores and each.subject not in RULERS]
    assert len({each.metric for each in measured}) == len(data["metrics"])
    names = metric_names(run)
    for measurement in measured:
        entry = next(each for each in data["metrics"] if each["name"] == names[measurement.metric])
        assert entry["unit"] == measurement.metric.unit
        ids = data["examples"][entry["examples"]]["ids"]
        values = dict(zip(ids, entry["values"][measurement.subject], strict=True))
        assert values == {
            score.example_id: pytest.approx(score.total / score.count, rel=1e-5, abs=1e-12)
            for score in measurement.scores
        }


def test_texts_go_with_their_examples(rich):
    """Prompts and sides of pairs, prompts of generations; ids are stored once where they are shared."""
    data = _data(rich[0])
    by_name = {entry["name"]: data["examples"][entry["examples"]] for entry in data["metrics"]}
    pairs = by_name["Preferred answers, accuracy"]
    assert pairs is next(each for name, each in by_name.items() if "reward margin" in name)
    place = pairs["ids"].index("e0007")
    assert pairs["prompts"][place] == "Question 7?"
    assert pairs["texts"]["rejected"][place] == "Bad 7."
    asked = next(each for name, each in by_name.items() if name.startswith("Generated answers"))
    assert asked["prompts"][0].startswith("What is bread?")
    assert asked["answers"] == 0
    assert pairs["answers"] is None
    assert data["metrics"][data["first"]]["name"] == "Preferred answers, accuracy"
    assert data["sources"]["preferences"] == "Preferred answers (embedded/preferences, test)"


def test_missing_values_are_null(fakes):
    """An example without a count has no value, and a metric with a NaN is not there at all."""
    scores = fakes.scores([1.0, 2.0], counts=[0, 1])
    run = fakes.small_run({(fakes.PERPLEXITY, name): scores for name in ("base", "dpo")})
    assert _data(run)["metrics"][0]["values"]["dpo"] == [None, 2.0]
    spoilt = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores([1.0, float("nan")]) for name in ("base", "dpo")})
    assert _data(spoilt)["metrics"] == []


def _many(fakes, n=40):
    """Every example moves by its place on one metric, and by its place from the end on the other."""
    places = [float(place) for place in range(n)]
    moved = {fakes.PERPLEXITY: places, fakes.BITS: places[::-1]}
    texts = (
        ExampleText(f"e{n:04d}", "truthfulness", f"Question {n}? " * 50, {"right": "Yes. " * 100}) for n in range(n)
    )
    return fakes.small_run(
        {
            (metric, name): fakes.scores(values if name == "dpo" else [0.0] * n)
            for metric, values in moved.items()
            for name in ("base", "dpo")
        },
        examples=tuple(texts),
    )


def test_of_many_examples_those_that_moved_most_are_there(fakes):
    """Each metric and candidate gives as many, in the order of ids; what is left out is counted, and said."""
    run = _many(fakes)
    data = examples_data(run, [], example_sets(run, 6))
    (examples,) = data["examples"]
    assert examples["ids"] == ["e0000", "e0001", "e0002", "e0037", "e0038", "e0039"]
    assert examples["left"] == 34
    assert examples["prompts"][3].startswith("Question 37?")
    assert data["metrics"][0]["values"]["dpo"] == [0.0, 1.0, 2.0, 37.0, 38.0, 39.0]
    assert "6 of 40 examples are on this page: those that moved most. <code>harness report" in examples_part(data)
    everything = examples_data(run, [], example_sets(run, 40))
    assert everything["examples"][0]["left"] == 0
    assert "<code>" not in examples_part(everything)


def test_examples_that_did_not_move_fill_the_page_up(fakes):
    """By id, after those that did; an example without a value moved nowhere."""
    moved = [0.0, 0.0, 3.0, 0.0, 5.0, 0.0]
    counts = [1, 1, 1, 1, 0, 1]
    run = fakes.small_run(
        {(fakes.BITS, "base"): fakes.scores([0.0] * 6, counts), (fakes.BITS, "dpo"): fakes.scores(moved, counts)}
    )
    assert _data(run)["examples"][0]["left"] == 0
    assert example_sets(run, 3)[0].ids == ["e0000", "e0001", "e0002"]
    assert example_sets(run, 1)[0].ids == ["e0002"]


def test_the_order_of_rows_differs_and_the_page_does_not(fakes):
    """Metrics over the same examples share them in whatever order their scores stand."""
    run = _many(fakes)
    turned = replace(run, measurements=tuple(replace(each, scores=each.scores[::-1]) for each in run.measurements[:2]))
    turned = replace(turned, measurements=(*turned.measurements, *run.measurements[2:]))
    assert examples_data(turned, [], example_sets(turned, 6)) == examples_data(run, [], example_sets(run, 6))


def test_texts_are_cut_before_examples_go(fakes, monkeypatch):
    """The page takes the first of several sizes that fits, and says what it did."""
    run = _many(fakes)
    monkeypatch.setattr("reports.rendering.formats.page.examples.SMALLER", ((40, None), (40, 100), (10, 100), (1, 10)))
    sizes = {bound: fitting_examples(run, [], bound) for bound in (100_000, 20_000, 6_000, 1)}
    assert [(len(data["examples"][0]["ids"]), data["longest"]) for data in sizes.values()] == [
        (40, None), (40, 100), (10, 100), (1, 10),
    ]  # fmt: skip
    for bound, data in list(sizes.items())[:3]:
        assert n_bytes(json_in_html(data)) <= bound
    assert len(sizes[20_000]["examples"][0]["prompts"][0]) == 101
    assert examples_part(sizes[100_000]) == template("examples.html")
    assert "<p>Texts are cut to 100 characters." in examples_part(sizes[20_000])
    assert "<p>10 of 40 examples are on this page: those that moved most; texts are cut" in examples_part(sizes[6_000])


def test_answers_that_do_not_fit_are_left_out_and_counted(fakes, monkeypatch):
    """Prompts with all their answers, as they stand in the page's data, from the first on."""
    monkeypatch.setattr("reports.rendering.formats.page.answers.LARGEST_ANSWERS", 1_000)
    answers = tuple(
        Generation("answers", f"q{n}", name, "", "Why?", "<" * 10, refused=False)
        for n in range(20)
        for name in ("base", "dpo")
    )
    (data,) = answers_data(replace(fakes.realistic_run(), generations=answers))
    assert 0 < len(data["ids"]) < 20
    assert len(data["ids"]) + data["left"] == 20
    assert sum(n_bytes(json_in_html(each)) for own in data["subjects"].values() for each in own) <= 1_000


def test_answers_stand_in_the_order_of_their_prompts(rich):
    """Every subject's answers, with who refused; a subject without an answer to a prompt has none."""
    run, _ = rich
    (answers,) = answers_data(replace(run, generations=run.generations[:-1]))
    assert answers["ids"] == ["q1", "q2", "q3", "q4", "q5"]
    assert answers["kinds"][:3] == ["benign look-alike", "unsafe", "languages"]
    assert answers["subjects"]["dpo"][0]["refused"] is True
    assert "refused" not in answers["subjects"]["base"][0]
    assert answers["subjects"]["other"][4] is None
    assert answers["subjects"]["base"][2]["text"].startswith("\u0627")


def test_long_answers_and_many_prompts_are_cut_and_counted(fakes):
    """The data say how much of an answer, and how many prompts, they leave out."""
    answers = [
        Generation("answers", f"q{n}", "base", "", "Why?", "word " * (LONGEST_ANSWER // 5 + 1), refused=False)
        for n in range(MOST_PROMPTS + 3)
    ]
    (data,) = answers_data(replace(fakes.realistic_run(), generations=tuple(answers)))
    assert data["left"] == 3
    assert len(data["ids"]) == len(data["subjects"]["base"]) == MOST_PROMPTS
    assert len(data["subjects"]["base"][0]["text"]) == LONGEST_ANSWER
    assert data["subjects"]["base"][0]["left"] == 5


def test_a_picture_s_data_are_csv():
    """What a picture shows is a table that any reader of CSV takes apart again; without data there is no button."""
    picture = Picture(
        "margins", "A <title>", "<svg></svg>", "A note.", ("name", "value"), (('a, "b"\nc', 0.1), ("d", None))
    )
    rows = list(csv.reader(io.StringIO(picture_data([picture])["margins"])))
    assert rows == [["name", "value"], ['a, "b"\nc', "0.1"], ["d", ""]]
    assert 'data-save="csv"' in figure(picture)
    assert "A &lt;title&gt;" in figure(picture)
    assert "csv" not in figure(replace(picture, rows=()))
    assert picture_data([replace(picture, rows=())]) == {}
