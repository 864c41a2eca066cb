"""Every metric stands in one line by its human name, largest first, as many as fit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from reports.rendering.content.display import MINUS
from reports.rendering.content.headline.lines import NOTHING_SEEN, Beside, headline_lines, n_characters
from reports.rendering.content.headline.subject import Judged

LINES = ["gained", "lost", "no change seen", "cannot tell"]


def lines_of(rows: SimpleNamespace, shown: list[tuple[str, str, str]], n_left: int = 600, believe: str = ""):
    """Lines of metrics, each (what it shows, evaluation, human name of the metric), with the first as the target."""
    metrics = [replace(rows.PERPLEXITY, evaluation=evaluation) for _, evaluation, _ in shown]
    made = [rows.row_of(metric, shows) for metric, (shows, _, _) in zip(metrics, shown, strict=True)]
    judged = Judged("dpo", ("dpo",), False, tuple(made[:1]), tuple(made[1:]), (), ())
    names = {row.metric: f"{evaluation}, {name}" for row, (_, evaluation, name) in zip(made, shown, strict=True)}
    return {line.kind: line.text for line in headline_lines(judged, names, Beside(believe=believe), n_left)}


def test_each_metric_is_in_exactly_one_line(rows: SimpleNamespace) -> None:
    """Whatever its row shows; what moved without a better direction is named by it."""
    shows = ["better", "worse", "changed", "no change seen", "cannot tell", "not finite", "not measured"]
    found = lines_of(rows, [(each, f"Set {n}", f"metric {n}") for n, each in enumerate(shows)])
    for n in range(len(shows)):
        assert [f"Set {n}, metric {n}" in text for text in found.values()].count(True) == 1
    assert found["gained"] == f"Set 0, metric 0 {MINUS}10.0 % (lower is better)"
    assert found["lost"] == "Set 1, metric 1 +11.1 %; Set 2, metric 2 +11.1 % (higher)"
    assert (
        found["cannot tell"] == "Set 4, metric 4 +10.5 %; Set 5, metric 5 (not finite); Set 6, metric 6 (not measured)"
    )


def test_lines_without_content(rows: SimpleNamespace) -> None:
    """Gained and lost say what that means, the others are left out."""
    assert lines_of(rows, [("better", "Set", "loss")]) == {
        "gained": f"Set, loss {MINUS}10.0 % (lower is better)",
        "lost": NOTHING_SEEN,
    }
    assert list(lines_of(rows, [("no change seen", "Set", "loss")], believe="x")) == [
        "gained",
        "lost",
        "no change seen",
        "believe it?",
    ]


def test_metrics_of_one_kind_are_one_item_with_a_number_each(rows: SimpleNamespace) -> None:
    """What they measure is said once, which direction is better too, and no two numbers look like an interval."""
    sizes = [0.02, 0.04, 0.03]
    metrics = [replace(rows.PERPLEXITY, evaluation=each) for each in ("T", "A", "B", "C")]
    made = [rows.row_of(metrics[0], "better")]
    made += [
        rows.row_of(metric, "better", difference=-size, interval=(-size - 0.01, -size + 0.01))
        for metric, size in zip(metrics[1:], sizes, strict=True)
    ]
    judged = Judged("dpo", ("dpo",), False, tuple(made[:1]), tuple(made[1:]), (), ())
    names = {row.metric: f"{row.metric.evaluation}, perplexity" for row in made}
    gained, _ = headline_lines(judged, names, Beside(), 600)
    assert gained.text == (
        f"T, perplexity {MINUS}10.0 % (lower is better); "
        f"perplexity of B {MINUS}3.92 %, C {MINUS}2.96 %, A {MINUS}1.98 %"
    )
    many = lines_of(rows, [("worse", "T", "x"), *(("worse", f"S{n}", "perplexity") for n in range(6))])
    assert many["lost"] == "T, x +11.1 % (lower is better); perplexity of " + ", ".join(
        f"S{n} +11.1 %" for n in range(6)
    )


def test_differences_of_both_signs_have_a_number_each(rows: SimpleNamespace) -> None:
    """A range of them would be taken for an interval."""
    made = [
        rows.row_of(replace(rows.PERPLEXITY, evaluation=name), "no change seen", difference=difference)
        for name, difference in (("T", 0.0), ("A", 0.03), ("B", -0.01))
    ]
    judged = Judged("dpo", ("dpo",), False, tuple(made[:1]), tuple(made[1:]), (), ())
    names = {row.metric: f"{row.metric.evaluation}, perplexity" for row in made}
    assert headline_lines(judged, names, Beside(), 600)[2].text == (
        f"T, perplexity 0.0 % (lower is better); perplexity of A +3.0 %, B {MINUS}1.0 %"
    )


def test_a_difference_that_no_number_holds_is_said_in_words(rows: SimpleNamespace) -> None:
    """No infinite percent."""
    made = rows.row_of(rows.PERPLEXITY, "worse", difference=1e4, interval=(9e3, 2e4))
    judged = Judged("dpo", ("dpo",), False, (made,), (), (), ())
    _, lost = headline_lines(judged, {made.metric: "A, b"}, Beside(), 600)
    assert lost.text == "A, b (beyond measure) (lower is better)"


def test_a_cost_without_a_metric_ends_the_line_of_what_was_lost(rows: SimpleNamespace) -> None:
    """It is there with other losses and without, and however little room there is."""
    for shows, expected in (("worse", "A, b +11.1 % (lower is better); refuses less"), ("better", "Refuses less")):
        made = rows.row_of(rows.PERPLEXITY, shows)
        judged = Judged("dpo", ("dpo",), False, (made,), (), (), ())
        assert headline_lines(judged, {made.metric: "A, b"}, Beside("refuses less"), 600)[1].text == expected
        assert "efuses less" in headline_lines(judged, {made.metric: "A, b"}, Beside("refuses less"), 0)[1].text


def test_no_loss_is_left_out_while_something_else_is_named(rows: SimpleNamespace) -> None:
    """All of it has its name before a second gain or anything that was not seen has."""
    shown = [(each, f"{each} {n}", f"metric {n}") for n in range(4) for each in ("better", "worse", "no change seen")]
    for n_left in range(60, 700, 20):
        found = lines_of(rows, shown, n_left)
        if "more" in found["lost"]:
            assert found["gained"].count("metric") == 1
            assert found["no change seen"] == "4 metrics"


@pytest.mark.parametrize("n_left", [600, 300, 200, 120])
def test_what_does_not_fit_is_counted(rows: SimpleNamespace, n_left: int) -> None:
    """Every line stays, and names and counts together are all metrics; the last line is never cut."""
    shown = [(each, f"{each} {n}", f"metric {n}") for n in range(7) for each in ("better", "worse", "no change seen")]
    found = lines_of(rows, shown, n_left, believe="One seed; 3 more below")
    assert list(found) == ["gained", "lost", "no change seen", "believe it?"]
    assert found["believe it?"] == "One seed; 3 more below"
    assert sum(len(f"{kind}: {text}") for kind, text in found.items()) <= n_left
    for kind in ("gained", "lost", "no change seen"):
        text = found[kind]
        last = text.rpartition("; and ")[2] if "; and " in text else text
        n_more = int(last.split()[0]) if last[0].isdigit() else 0
        assert text.count(", metric") + n_more == 7


def test_what_was_lost_is_named_first_where_there_is_little_room(rows: SimpleNamespace) -> None:
    """The reader who sees one name sees a loss."""
    found = lines_of(rows, [("better", "A", "x"), ("worse", "B", "y")], n_left=54)
    assert found == {"gained": "1 metric", "lost": "B, y +11.1 % (lower is better)"}


def test_long_and_hostile_names_are_cut_to_one_line(rows: SimpleNamespace) -> None:
    """Control characters and lengths do no harm; markup is left to the formats, which escape it."""
    found = lines_of(rows, [("better", "<b>A\nB\x1b" + "x" * 300, "y")])
    assert found["gained"].startswith("<b>A B xxx")
    assert len(found["gained"]) < 90
    assert found["gained"].isprintable()


def test_the_length_of_a_line_has_what_it_is_about(rows: SimpleNamespace) -> None:
    """As the terminal prints it."""
    judged = Judged("dpo", ("dpo",), False, (rows.row_of(rows.PERPLEXITY, "better"),), (), (), ())
    gained, lost = headline_lines(judged, {judged.target[0].metric: "A, b"}, Beside(), 600)
    assert n_characters(gained) == len(f"gained: A, b {MINUS}10.0 % (lower is better)")
    assert n_characters(lost) == len(f"lost: {NOTHING_SEEN}")
