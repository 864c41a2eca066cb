"""The headline of a report: from the rows to typed facts, from the facts to a sentence, lines and limits.

Judged   (subject.py)   whom it is about, with the rows that claims are made from
Facts    (facts.py)     what these rows show, as a handful of words from closed lists
sentence (sentence.py)  the answer, from the facts alone
lines    (lines.py)     every metric by name, each in one line
limits   (limits.py)    what limits belief, weightiest first
"""

from reports.rendering.content.headline.lines import HeadlineKind, HeadlineLine
from reports.rendering.content.headline.whole import Headline, headline

__all__ = ["Headline", "HeadlineKind", "HeadlineLine", "headline"]
