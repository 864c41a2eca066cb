"""Training curves: what was logged, both accuracies in one plot, ends named without overlaps."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reports.rendering.pictures.training import MOST_POINTS, thinned, training_picture


def _rows(candidate, n=4, accuracy=0.6, loss=0.5):
    row = {"candidate": candidate}
    for step in range(1, n + 1):
        yield row | {
            "kind": "train",
            "step": step,
            "loss": loss,
            "rewards/accuracies": accuracy,
            "rewards/margins": 0.1,
        }
    for step in (0, n):
        yield row | {
            "kind": "selection",
            "step": step,
            "loss": loss,
            "rewards/accuracies": accuracy - 0.1,
            "rewards/margins": 0.1,
        }


def _run(fakes, rows, names=("dpo",)):
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores([1, 2]) for name in names})
    return replace(run, training=tuple(rows))


def _words(picture, pictures):
    return [each.words for each in pictures.drawn_texts(picture.svg)]


def test_training_and_held_out_accuracy_stand_in_one_plot(fakes, pictures):
    """Each is named at its end, with its last value."""
    picture = training_picture(_run(fakes, _rows("dpo", accuracy=0.94)))
    words = _words(picture, pictures)
    assert {"Accuracy", "Loss", "training: 94 %", "held-out: 84 %", "held-out: 0.50"} <= set(words)
    assert {(row[0], row[3]) for row in picture.rows} == {
        (plot, kind) for plot in ("Accuracy", "Loss") for kind in ("train", "selection")
    }
    pictures.check_geometry(picture.svg)


def test_of_several_candidates_held_out_rows_are_compared(fakes, pictures):
    """And training rows are those of the headline alone."""
    rows = [*_rows("a", accuracy=0.9), *_rows("b", accuracy=0.7)]
    picture = training_picture(_run(fakes, rows, ("a", "b")))
    words = _words(picture, pictures)
    assert {"a, training: 90 %", "a: 80 %", "b: 60 %"} <= set(words)
    assert not any("b, training" in word for word in words)


def test_seeds_of_a_recipe_are_one_line(fakes):
    """The mean of what all of them logged at a step."""
    rows = [*_rows("x, seed 1", accuracy=0.9), *_rows("x, seed 2", accuracy=0.7)]
    run = _run(fakes, rows, ("x, seed 1", "x, seed 2"))
    subjects = tuple(replace(each, recipe="x") if each.kind == "candidate" else each for each in run.subjects)
    picture = training_picture(replace(run, subjects=subjects))
    values = {row[5] for row in picture.rows if row[0] == "Accuracy" and row[3] == "train"}
    assert [round(value, 6) for value in values] == [80]
    assert {row[2] for row in picture.rows} == {2}
    assert "mean of its training seeds" in picture.note


def test_losses_of_sft_have_a_plot_of_their_own(fakes, pictures):
    """Its training rows are in nats per token; its held-out rows are judged as pairs, with the others."""
    sft = [
        {"candidate": "sft", "kind": "train", "step": 1, "loss": 6.0},
        {"candidate": "sft", "kind": "train", "step": 2, "loss": 5.0},
        *[row for row in _rows("sft", accuracy=0.75) if row["kind"] == "selection"],
    ]
    picture = training_picture(_run(fakes, [*_rows("dpo"), *sft], ("dpo", "sft")))
    assert "Loss of SFT, nats per token" in _words(picture, pictures)
    assert {row[5] for row in picture.rows if row[1] == "sft" and row[0] == "Loss"} == {0.5}
    assert {row[5] for row in picture.rows if row[0].startswith("Loss of SFT")} == {6.0, 5.0}


def test_training_on_texts_alone_has_a_loss(fakes, pictures):
    """Without any pairs there is one plot, and no accuracy."""
    rows = [{"kind": "train", "step": step, "loss": 3.0 - step} for step in (1, 2)]
    picture = training_picture(_run(fakes, rows))
    assert {row[0] for row in picture.rows} == {"Loss"}
    assert "Accuracy" not in _words(picture, pictures)


def test_a_diverged_loss_is_left_out(fakes):
    """Rows whose loss is null, as a NaN is on disk, and steps that are missing."""
    rows = [{"kind": "train", "step": 1, "loss": 0.7}, {"kind": "train", "step": 2, "loss": None}]
    assert [row[4] for row in training_picture(_run(fakes, rows)).rows] == [1]
    assert training_picture(_run(fakes, rows[1:])) is None
    assert training_picture(_run(fakes, [{"kind": "train", "loss": 0.7}])) is None
    assert training_picture(_run(fakes, [])) is None


def test_long_trainings_are_means_of_neighbours(fakes):
    """At most so many points, from the first step to the last, with the same mean."""
    points = [(float(step), float(step % 7)) for step in range(10_000)]
    means = thinned(points)
    assert len(means) <= MOST_POINTS
    assert sum(y for _, y in means) / len(means) == pytest.approx(3, abs=0.02)
    assert [x for x, _ in means] == sorted(x for x, _ in means)
    assert "mean of up to" in training_picture(_run(fakes, _rows("dpo", n=500))).note
    assert thinned(points[:5]) == tuple(points[:5])


@pytest.mark.parametrize("name", ["HOSTILE", "RIGHT_TO_LEFT", "CHINESE", "LONG", "plain"])
def test_twenty_candidates_keep_their_names_apart(fakes, pictures, name):
    """Eight have a colour and a name, the others are grey; nothing overlaps where lines end together."""
    names = [f"{getattr(pictures, name, name)} {place}" for place in range(20)]
    picture = training_picture(_run(fakes, [row for each in names for row in _rows(each)], names))
    ET.fromstring(picture.svg)
    assert "<script" not in picture.svg
    pictures.check_geometry(picture.svg)
    if name == "plain":
        assert len([word for word in _words(picture, pictures) if word.startswith("plain") and "%" in word]) == 9


def test_the_same_rows_give_the_same_bytes(fakes):
    """No dates, no ids."""
    run = _run(fakes, _rows("dpo"))
    assert training_picture(run) == training_picture(run)
