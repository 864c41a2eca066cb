"""Pictures in a real browser, where one is installed: texts take no more space than was kept for them."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from made_up_runs import default_like_run
from reported import report_of

from reports.rendering.pictures.everything import all_pictures

PAGE = """<!doctype html><meta charset="utf-8"><body>{svgs}<pre></pre><script>
const boxes = [...document.querySelectorAll("svg")].map((svg) => [...svg.querySelectorAll("text")].map((text) => {{
  const box = text.getBBox();
  return [text.textContent, box.x, box.y, box.x + box.width, box.y + box.height];
}}));
document.querySelector("pre").textContent = JSON.stringify(boxes);
</script>"""
NAMES = ("differences", "gain-and-cost", "swept-value", "margins", "training", "calibration")
SLACK = 1.0
"""Pixels by which a letter may reach further than estimated."""


def _real_boxes(svgs, folder):
    """The texts of each picture with the boxes that a browser draws them in."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no browser: install the package chromium")
    page = folder / "page.html"
    page.write_text(PAGE.format(svgs="".join(svgs)), encoding="utf-8")
    command = [
        *(binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900", "--dump-dom", page.as_uri()),
    ]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode("utf-8")
    return json.loads(html.unescape(re.search("<pre>(.*?)</pre>", shown, re.DOTALL)[1]))


def _named(run, names):
    """The run with other names of its candidates, their recipes, and the rows that training logged."""
    of_name = dict(zip([each.name for each in run.candidates], names, strict=True))
    return replace(
        run,
        subjects=tuple(
            replace(
                each,
                name=of_name.get(each.name, each.name),
                recipe="",
                compared_with=tuple(of_name[name] for name in each.compared_with),
            )
            for each in run.subjects
        ),
        measurements=tuple(replace(m, subject=of_name.get(m.subject, m.subject)) for m in run.measurements),
        training=tuple(row | {"candidate": of_name[row["candidate"]]} for row in run.training),
        selection=(),
    )


def _drawn(run):
    return all_pictures(report_of(run))


def test_texts_take_the_space_that_was_kept(pictures, fakes, tmp_path):
    """In the fonts of this machine no text is wider than estimated, none overlaps, and none leaves its picture."""
    run = fakes.sweep_run()
    drawn = [*_drawn(default_like_run()), *_drawn(run)]
    for name in (pictures.HOSTILE, pictures.CHINESE, pictures.RIGHT_TO_LEFT, pictures.LONG):
        drawn += _drawn(_named(run, [f"learning_rate={place}e-6, {name}" for place in range(len(run.candidates))]))
    assert {picture.name for picture in drawn} == set(NAMES)
    for picture, texts in zip(drawn, _real_boxes([each.svg for each in drawn], tmp_path), strict=True):
        inside = pictures.view(picture.svg)
        found = [(words, pictures.Box(*box)) for words, *box in texts]
        for (words, box), estimate in zip(found, pictures.drawn_texts(picture.svg), strict=True):
            assert words == estimate.words
            assert box.right - box.left <= estimate.box.right - estimate.box.left + SLACK, words
            assert inside.holds(box), words
        for place, (words, box) in enumerate(found):
            for other, other_box in found[place + 1 :]:
                assert not box.overlaps(other_box), (words, other)
