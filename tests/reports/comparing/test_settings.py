"""Which settings of runs differ, and names from them."""

from dataclasses import replace
from typing import Any

import pytest

from reports.comparing.settings import differing_line, differing_settings, named_by_settings
from reports.records import DifferingSetting, Run


def run(**config: Any) -> Run:
    """A run of these settings alone."""
    return Run("run", "suite", "", "", "", (), (), config=config)


def test_every_setting_that_differs_is_listed_by_its_dotted_key() -> None:
    """Sorted, with each run's value, also where a run does not have it; equal ones and descriptions are not."""
    one = run(training={"beta": 0.1, "epochs": 1, "report_to": []}, sft=None, description="a", seed=1)
    two = run(training={"beta": 0.5, "epochs": 1, "report_to": ["wandb"]}, sft={"epochs": 2.0}, description="b", seed=1)
    assert differing_settings([one, two]) == (
        DifferingSetting("sft.epochs", ("not set", "2")),
        DifferingSetting("training.beta", ("0.1", "0.5")),
        DifferingSetting("training.report_to", ("not set", "wandb")),
    )
    assert differing_settings([one, one]) == ()
    assert differing_settings([run(), run()]) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5e-6, "5e-6"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "not set"),
        ([1e-5, 2], "1e-5, 2"),
        ("a\nb", "a\nb"),
        (3, "3"),
    ],
)
def test_values_are_written_as_in_a_configuration(value: Any, text: str) -> None:
    """Short numbers, true and false, lists without brackets."""
    (found,) = differing_settings([run(key=value), run(key="other")])
    assert found.values[0] == text


def settings(**values: tuple[str, ...]) -> list[DifferingSetting]:
    """Settings by key, with __ for a dot."""
    return [DifferingSetting(key.replace("__", "."), each) for key, each in values.items()]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"training__beta": ("0.1", "0.5")}, ["beta=0.1", "beta=0.5"]),
        ({"training__beta": ("0.1", "0.5"), "scoring__path": ("a", "b")}, ["beta=0.1", "beta=0.5"]),
        ({"training__beta": ("1", "1"), "lora__rank": ("8", "16")}, ["beta=1, rank=8", "beta=1, rank=16"]),
        (
            {"model__name": ("a", "b"), "data__training__name": ("c", "c")},
            ["model.name=a, data.training.name=c", "model.name=b, data.training.name=c"],
        ),
        ({"seed": ("1", "2")}, ["seed=1", "seed=2"]),
        ({"seeds": ("1", "2")}, None),
        ({"training__beta": ("0.1", "0.1")}, None),
        ({"model__name": ("x" * 30, "b")}, None),
        ({"training__a": ("1", "2"), "training__b": ("1", "2"), "training__c": ("1", "2")}, None),
        ({}, None),
    ],
)
def test_runs_are_called_by_the_little_that_differs(found: dict[str, tuple[str, ...]], names: list[str] | None) -> None:
    """By the last part of the key, in full where it is needed; not by too much, by nothing, or by the same."""
    assert named_by_settings(2, settings(**found)) == names


def test_what_differs_is_one_sentence() -> None:
    """The first settings with their values, long ones cut, and how many more there are."""
    runs = [replace(run(), name=name) for name in ("one", "two")]
    assert differing_line(runs, []) == "one and two have the same settings."
    few = settings(training__beta=("0.1", "0.5"), model__name=("x" * 90, "b"))
    assert (
        differing_line(runs, few)
        == f"one and two differ in training.beta (0.1 and 0.5); model.name ({'x' * 39}… and b)."
    )
    many = settings(**{f"k{n}": ("1", "2") for n in range(6)})
    assert differing_line(runs, many).endswith("k3 (1 and 2); and 2 more settings.")
    assert differing_line(runs, many[:5]).endswith("; and 1 more setting.")


def test_paths_are_told_apart_without_the_folders_above() -> None:
    """By as much as differs; a hub id beside one stays as it is, and so does a text with a slash."""
    one = run(model={"name": "/home/kim/a/base"}, data={"name": "/rows/x.jsonl"}, note="/help")
    two = run(model={"name": "/home/kim/b/base"}, data={"name": "org/x"}, note="/hint")
    assert {each.key: each.values for each in differing_settings([one, two])} == {
        "model.name": ("\u2026/a/base", "\u2026/b/base"),
        "data.name": ("\u2026/x.jsonl", "org/x"),
        "note": ("/help", "/hint"),
    }
