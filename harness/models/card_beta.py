"""Beta in a model card: the scale of the implicit reward that DPO or KTO trained with, and never an optimiser's."""

import math
import re

_BETA = re.compile(
    r"(?<![\w.])(?P<option>--)?(?P<owner>training\.|dpo_|rl_|pref_|kto_)?(?:beta|\u03b2)[\"'`*$]*"
    r"(?P<sign>\s*(?:=|:|\||of|is)\s*|\s+)[\"'`*$]*(?P<value>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)(?!\w|\.\d)",
    re.IGNORECASE,
)
"""Beta in a card's table, list, sentence, command or YAML: `training.beta | 0.1` of this project, `rl_beta: 0.1` of
axolotl, `pref_beta: 0.1` of LLaMA-Factory, `beta=0.1`, `--beta 0.1`; never `betas=(0.9, ...)` or `adam_beta1`."""
_PREFERENCES = re.compile(r"(?<![a-z])(?:dpo|kto|ipo|orpo|simpo|cpo|preference|reward)", re.IGNORECASE)
_OPTIMISER = re.compile(r"(?<![a-z])(?:adam|optimi[sz]|momentum|rmsprop|adafactor|lion(?![a-z]))", re.IGNORECASE)
_CLAUSE_END = re.compile(r";|[.!?](?=\s)|\|\|")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]\s+)?[\"'`*$]*$")
"""What stands before a beta that is a list item, or a line, of its own."""


def beta_in_card(text: str) -> float | None:
    """Return the beta that a card names; None where it names none, or two, since nothing tells which one is meant."""
    lines = text.splitlines()
    betas = {
        beta
        for number, line in enumerate(lines)
        for match in _BETA.finditer(line)
        if (beta := float(match["value"])) > 0 and math.isfinite(beta) and _is_of_reward(match, lines, number)
    }
    return betas.pop() if len(betas) == 1 else None


def _is_of_reward(match: re.Match[str], lines: list[str], number: int) -> bool:
    """Whether a beta is that of the reward, as far as the words around it tell.

    A name such as `rl_beta` says it. Otherwise the last word before it in its clause decides between a preference
    method and an optimiser, or else the clause after it or the line that it is indented under. Without "=", ":" or the
    like, "beta 0.1" is also the name of a version: then a preference method has to be named, or it is a command's
    option, or the whole line.
    """
    if match["owner"]:
        return True
    before = _CLAUSE_END.split(lines[number][: match.start()])[-1]
    after = _CLAUSE_END.split(lines[number][match.end() :])[0]
    preference, optimiser = _last(_PREFERENCES, before), _last(_OPTIMISER, before)
    if optimiser > preference:
        return False
    if preference < 0 and (_OPTIMISER.search(after) or _OPTIMISER.search(_parent(lines, number))):
        return False
    is_alone = _LIST_ITEM.match(before) is not None and not after.strip("\"'`*$ ")
    return bool(match["sign"].strip() or match["option"] or preference >= 0 or is_alone)


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Return where a pattern matches last, or -1."""
    return max((match.start() for match in pattern.finditer(text)), default=-1)


def _parent(lines: list[str], number: int) -> str:
    """Return the nearest line above that is indented less, as the key that a line of YAML belongs to; or nothing."""
    indentation = _indentation(lines[number])
    above = (line for line in reversed(lines[:number]) if line.strip())
    return next((line for line in above if _indentation(line) < indentation), "")


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
