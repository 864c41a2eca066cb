"""Texts made up for runs: of realistic length, some of 2,000 words, some Arabic and Chinese, and a hostile one."""

import numpy as np

_WORDS = {
    "English": "the a of to and in is it you that for on with as are be this have from or one had by but not what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so these "
    "would water people house bread garden river letter window winter music teacher morning question answer reason "
    "mountain kitchen flour doctor market story evening number light paper friend village engine salt summer bicycle",
    "Arabic": "في من على إلى هذا الماء الكتاب البيت مدينة صباح سؤال جواب صديق طريق شمس قلم مدرسة خبز حديقة نهر",
    "Chinese": "的 是 在 了 我们 水 书 房子 城市 早上 问题 回答 朋友 太阳 学校 面包 花园 河流 音乐 老师 冬天",
}

HOSTILE = (
    '<script>alert("1")</script><img src=x onerror=alert(2)> </td></table> | **bold** `code` \\textbf{x} & $x_1$ %'
)
"""A text that would run or break a report that does not escape it."""
LONG = 2_000
"""Words of the longest texts."""


def text(rng: np.random.Generator, n_words: int, language: str = "English") -> str:
    """Return sentences of `n_words` words in all, with a paragraph after every sixth."""
    words = _WORDS[language].split()
    between, stop = ("", "。") if language == "Chinese" else (" ", ". ")
    drawn = [words[place] for place in rng.integers(0, len(words), max(1, n_words))]
    sentences = [between.join(drawn[start : start + 12]) for start in range(0, len(drawn), 12)]
    sentences = [sentence[:1].upper() + sentence[1:] + stop for sentence in sentences]
    return "\n\n".join("".join(sentences[start : start + 6]).strip() for start in range(0, len(sentences), 6))


def texts(rng: np.random.Generator, n: int, median_words: float = 40) -> list[str]:
    """Return `n` texts: lengths are log-normal, every 40th is Arabic or Chinese, every 500th has 2,000 words.

    The very first is hostile.
    """
    lengths = np.exp(rng.normal(np.log(median_words), 0.7, n)).astype(int)
    found = []
    for position, length in enumerate(lengths.tolist()):
        language = {20: "Arabic", 39: "Chinese"}.get(position % 40, "English")
        found.append(text(rng, LONG if position % 500 == 250 else length, language))
    return [HOSTILE, *found[1:]]


def edited(rng: np.random.Generator, original: str) -> str:
    """Return a text that begins like the original and goes on differently, as two answers to one prompt often do."""
    language = _language(original)
    between = "" if language == "Chinese" else " "
    words = list(original) if language == "Chinese" else original.split(" ")
    n_kept = int(rng.integers(0, 1 + len(words) // 2))
    n_new = int((len(words) - n_kept) * rng.uniform(0.6, 1.5))
    return between.join([*words[:n_kept], text(rng, n_new, language)])


def _language(words: str) -> str:
    """Return which of the three languages a text is in."""
    last = max(words)
    return "English" if last < "\u0600" else "Arabic" if last < "\u2e80" else "Chinese"
