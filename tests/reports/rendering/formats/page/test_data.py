"""The data of the page: examples with their scores and texts, answers, and what pictures show."""

import csv
import io
from dataclasses import replace

import pytest

from reports.records import Generation
from reports.rendering.content.names import metric_names
from reports.rendering.formats.page.answers import LONGEST_ANSWER, MOST_PROMPTS, answers_data
from reports.rendering.formats.page.example_sets import MOST_EXAMPLES, example_sets
from reports.rendering.formats.page.examples import examples_data
from reports.rendering.formats.page.pictures import figure, picture_data
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
