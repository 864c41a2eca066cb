"""OpenAI's summarize_from_feedback, configuration comparisons: two summaries of a Reddit post or a news article."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair, Turn


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair with the summary that `choice` names as chosen; texts are stripped. Group: the text to summarise.

    The prompt of a post is as in Stiennon et al. 2020, "Learning to summarize from human feedback": subreddit, title,
    post, "TL;DR:". The prompt of a news article (CNN/DM) is the article and "TL;DR:".
    """
    info, choice = row.part("info"), row.one_of("choice", 0, 1)
    summaries = [summary.text("text").strip() for summary in row.parts("summaries")]
    if len(summaries) != 2:  # noqa: PLR2004 - a pair
        return LeftOut("not exactly two summaries")
    if info.has("post"):
        request = (
            f"SUBREDDIT: r/{info.text('subreddit')}\n\nTITLE: {info.text('title')}\n\n"
            f"POST: {info.text('post').strip()}\n\nTL;DR:"
        )
    else:
        request = f"Article:\n{info.text('article').strip()}\n\nTL;DR:"
    return make_pair((Turn("user", request),), summaries[choice], summaries[1 - choice], source=row.source)


DATASETS = (
    DatasetEntry(
        name="openai/summarize_from_feedback:comparisons",
        columns=("info", "summaries", "choice"),
        licence="modified MIT; posts CC-BY-4.0",
        group="post or article",
        pair=pair,
    ),
)
