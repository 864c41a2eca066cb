"""The page against axe-core, whose package is a test requirement."""

from importlib.resources import files
from importlib.util import find_spec

import pytest

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FINDINGS = """axe.run(document, { runOnly: %s }).then(({ violations }) => violations.map(
  ({ id, impact, nodes }) => [impact, id, nodes.slice(0, 3).map((each) => each.html + " " + each.failureSummary)]))"""
EVERY_RULE = FINDINGS % TAGS
CONTRAST = FINDINGS % "{ type: 'rule', values: ['color-contrast'] }"
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def axe():
    """The text of axe-core."""
    if find_spec("axe_playwright_python") is None:
        pytest.skip("no axe-core: install the test extra")
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["rich", "sweep", "crowd", "one"])
def test_nothing_serious_is_found(kind, axe, pages, chromium):
    """Contrast, names, roles, headings and landmarks, with every section open, on a wide and on a narrow screen.

    In the dark only the contrast: the other rules do not look at colours.
    """
    for width, scheme, rules in ((1_400, "light", EVERY_RULE), (400, "light", EVERY_RULE), (1_400, "dark", CONTRAST)):
        chromium.open(pages[kind], width, scheme)
        chromium.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        chromium.evaluate(axe + "; 0")
        found = chromium.evaluate(rules)
        assert [each for each in found if each[0] in SERIOUS] == []


def test_a_planted_fault_is_found(axe, pages, chromium):
    """Grey on grey and a button without a name are serious: the check can fail."""
    chromium.open(pages["one"], 1_400)
    chromium.evaluate(axe + "; 0")
    chromium.evaluate("document.body.append(Object.assign(document.createElement('button'), { id: 'nameless' })); 0")
    chromium.evaluate("document.querySelector('h1').style.color = '#ddd'")
    assert {"button-name", "color-contrast"} <= {each[1] for each in chromium.evaluate(EVERY_RULE)}
    assert {each[1] for each in chromium.evaluate(CONTRAST)} == {"color-contrast"}
