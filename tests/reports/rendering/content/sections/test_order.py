"""The order of a report and the names of its sections, which Markdown and the page share."""

from dataclasses import replace

from reported import report_of

from reports.comparing.together import put_together
from reports.rendering.content.sections.order import published_sections
from reports.rendering.content.title import report_title

NAMES = (
    *("headline", "differences", "limits", "settings", "rivals", "primary", "base", "seeds", "exploratory", "methods"),
    "choice",
    *("published", "measured", "training", "changes", "answers", "provenance"),
)


def test_sections_stand_in_one_order_and_empty_ones_are_left_out(fakes):
    """Names are anchors, so they are stable; everything after what limits belief is folded."""
    one, two = (replace(fakes.realistic_run(), name=name, config={"seed": name}) for name in ("one", "two"))
    runs = (fakes.realistic_run(), fakes.sweep_run(), put_together([one, two]))
    for run in runs:
        found = report_of(run).sections
        names = [section.name for section in found]
        assert names == [name for name in NAMES if name in names]
        assert all(section.blocks for section in found)
        is_folded = [bool(section.summary) for section in found]
        assert is_folded == sorted(is_folded)
        assert not any(is_folded[: names.index("limits") + 1])
        assert found[0].title == report_title(run).text
    together = {section.name for run in runs for section in report_of(run).sections}
    assert together == set(NAMES)


def test_the_published_layout_claims_nothing(fakes):
    """Cross-entropies under the title, what was measured, provenance."""
    found = published_sections(fakes.sweep_run())
    assert [section.name for section in found] == ["published", "measured", "provenance"]
    assert found[0].title == report_title(fakes.sweep_run()).text
    empty = published_sections(fakes.small_run({}))
    assert empty[0].blocks[-1].words == "No perplexity was measured."
