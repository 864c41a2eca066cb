"""Questions about facts that stand in the prompt, answered in a noun phrase, with yes or no, or in a sentence.

The wrong answers take their words from the prompt as well: those of another fact, or of the other side of the only one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, load_text, tidy

JOINTS = (". ", ". ", ", and ", ", and ", ", but ", "; ", ", while ")
OPENINGS = ("", "", "", "", "look: ", "I know this: ", "remember: ", "here is a note. ", "read this. ", "listen. ")
SENTENCE_CUES = (
    " say it in a sentence.", " answer in a full sentence.", " a whole sentence, please.", " use a sentence.",
    " please answer in one sentence.", " write a sentence.", " give me a full sentence.",
)  # fmt: skip
NOUN_CUES = (" be brief.", " in short.", " one or two words.", " only the answer.", " in a few words.", " just say it.")
YES_NO_CUES = (" yes or no?", " say yes or no.", " is that so?", " true or not?")
TELL_CUES = ("tell me what you know about it.", "what happened?", "what do you know?", "say it again in other words.")
UNTOLD = ("that is not said", "I do not know", "it does not say", "nobody told me", "I cannot tell from this")
DOUBTS = ("I think ", "I am sure that ", "{p8} says that ", "they say that ", "people think that ")
FORM_WEIGHTS = {"noun phrase": 5, "yes or no": 3, "sentence": 3, "told": 1, "untold": 0.5}
CONVERSATION_COUNTS = (2, 3, 4, 5)
"""Numbers of facts that several questions are asked about."""
CONVERSATION_WEIGHTS = {"noun phrase": 6, "yes or no": 2, "sentence": 2}
MOST_TURNS = 6
RETOLD_SHARE = 0.5
"""Share of conversations that tell all facts again in place of questions."""
SAME_FRAME_SHARE = 0.6
"""Share of these whose facts are told in one way."""
OTHER_WORDS_SHARE = 0.3
"""Share of these that tell them again in other words."""
REORDER_CUES = ("say it in another order.", "say these again in any order.", "shuffle these.", "mix these up.")
RETELL_CUES = (
    "say all of it again in other words.",
    "tell it the other way round.",
    "sum it up.",
    "once more, please.",
)
CLAIM_SHARE = 0.2
"""Share of prompts in which a false claim stands beside the fact."""


@dataclass(frozen=True, slots=True)
class Fact:
    """The two sides of a relation, in words."""

    a: str
    b: str


@cache
def relations() -> dict[str, Mapping[str, Any]]:
    """Name -> relation, of `facts.yaml`."""
    loaded: dict[str, Mapping[str, Any]] = load_text("facts")
    return loaded


class Scene:
    """The facts of one prompt: a relation, what it joins, the fact that is asked for and the one it is mistaken for."""

    def __init__(self, rng: random.Random, counts: Sequence[int] = (2, 2, 2, 3)) -> None:
        """Draws the facts, as many as one of the counts where the relation has more than one."""
        self.rng = rng
        self.relation = rng.choice(list(relations().values()))
        self.draw = Draw(rng)
        self.is_alone = bool(self.relation.get("alone"))
        count = 1 if self.is_alone else rng.choice(counts)
        self.facts = [
            Fact(self.draw.word(self.relation["a"]), self.draw.word(self.relation["b"])) for _ in range(count)
        ]
        self.asked = rng.choice(self.facts)
        self.other = self.asked
        self.ask_for(self.asked)

    def ask_for(self, fact: Fact) -> None:
        """Makes a fact the one that is asked for, and another one what it is mistaken for."""
        others = [other for other in self.facts if other is not fact]
        self.asked, self.other = fact, self.rng.choice(others) if others else Fact(fact.b, fact.a)

    def fill(self, frame: str, fact: Fact) -> str:
        """A frame of the relation with the words of a fact in it."""
        self.draw["a"], self.draw["b"] = fact.a, fact.b
        return self.draw.expand(frame)

    def say(self, fact: Fact) -> str:
        """A fact in one of the ways of saying it."""
        return self.fill(self.rng.choice(self.relation["say"]), fact)

    def told(self) -> str:
        """All facts of the prompt, in running text."""
        if by_chance(self.rng, 0.5):
            frame = self.rng.choice(self.relation["say"])
            lines = [self.fill(frame, fact) for fact in self.facts]
        else:
            lines = [self.say(fact) for fact in self.facts]
        if not self.is_alone and by_chance(self.rng, CLAIM_SHARE):
            lines[self.facts.index(self.asked)] = self._corrected()
        if by_chance(self.rng, 0.15):
            lines.insert(self.rng.randrange(len(lines) + 1), self.draw.expand("{filler}"))
        text = lines[0]
        for line in lines[1:]:
            text += self.rng.choice(JOINTS) + line
        return self.rng.choice(OPENINGS) + text + "."

    def _corrected(self) -> str:
        """The fact that is asked for, after a claim that it is otherwise; the claim is what it is mistaken for."""
        self.other = Fact(self.asked.a, self.draw.word(self.relation["b"]))
        claim = self.draw.expand(self.rng.choice(DOUBTS)) + self.say(self.other)
        true = self.say(self.asked)
        turns = (
            ". that is wrong. ",
            ". that is not true: ",
            ", but that is not so. ",
            ", but in truth ",
            ", but really ",
        )
        return claim + self.rng.choice(turns) + true


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A question about a fact of the prompt, and its answer."""
    scene = Scene(rng)
    told = scene.told()
    form = rng.choices(list(FORM_WEIGHTS), list(FORM_WEIGHTS.values()))[0]
    if form == "untold":
        question, answer = _untold(scene, manner)
        form = "sentence"
    elif form == "yes or no":
        question, answer = _yes_or_no(scene, manner)
    elif form == "told":
        question, answer = rng.choice(TELL_CUES), _whole(scene, manner)
        if not scene.is_alone:  # one fact alone, so that it is clear which one is meant
            told, form = scene.say(scene.asked) + ".", "sentence"
        form = "sentence"
    else:
        question, answer = _open_question(scene, manner, form)
    is_question_first = by_chance(rng, 0.2)
    prompt = f"{question} {told}" if is_question_first else f"{told} {question}"
    return Exchange(tidy(prompt), tidy(answer + "."), form, manner.system)


def conversation(rng: random.Random) -> tuple[Exchange, ...]:
    """Several questions in turn about the facts of one prompt, all answered rightly.

    Which words belong together is asked of every fact, so that it is learned sooner than from one question a prompt.
    """
    scene = Scene(rng, CONVERSATION_COUNTS)
    right = Manner("", is_right=True)
    if not scene.is_alone and by_chance(rng, RETOLD_SHARE):
        return (_retold(scene),)
    told = scene.told()
    exchanges: list[Exchange] = []
    for fact in rng.sample(scene.facts * 2, 2 * len(scene.facts)):
        scene.ask_for(fact)
        form = rng.choices(list(CONVERSATION_WEIGHTS), list(CONVERSATION_WEIGHTS.values()))[0]
        question, answer = _yes_or_no(scene, right) if form == "yes or no" else _open_question(scene, right, form)
        exchanges.append(Exchange(tidy(question if exchanges else f"{told} {question}"), tidy(answer + "."), form))
    return tuple(exchanges[:MOST_TURNS])


def _retold(scene: Scene) -> Exchange:
    """The facts told again in another order, in the same words or in others."""
    rng = scene.rng
    lines = {fact: scene.say(fact) for fact in scene.facts}
    if by_chance(rng, SAME_FRAME_SHARE):
        frame = rng.choice(scene.relation["say"])
        lines = {fact: scene.fill(frame, fact) for fact in scene.facts}
    cue, again = rng.choice(REORDER_CUES), lines
    if by_chance(rng, OTHER_WORDS_SHARE):
        cue = rng.choice(RETELL_CUES)
        again = {fact: scene.fill(rng.choice(scene.relation["whole"]), fact) for fact in scene.facts}
    order = rng.sample(scene.facts, len(scene.facts))
    told = ". ".join(lines.values()) + "."
    prompt = f"{told} {cue}" if by_chance(rng, 0.5) else f"{cue} {told}"
    return Exchange(tidy(prompt), tidy(". ".join(again[fact] for fact in order) + "."), "sentence")


def _side(scene: Scene) -> str:
    """The side that is asked for; that of a corrected claim is always b."""
    is_claim = scene.other.a == scene.asked.a
    return "b" if is_claim else scene.rng.choice(("a", "b", "b"))


def _open_question(scene: Scene, manner: Manner, form: str) -> tuple[str, str]:
    """A question for one side of the fact, and the side in a noun phrase or the fact in a sentence."""
    side = _side(scene)
    question = scene.fill(scene.rng.choice(scene.relation[f"ask_{side}"]), scene.asked)
    if form == "sentence":
        return question + scene.rng.choice(SENTENCE_CUES), _whole(scene, manner, side)
    if by_chance(scene.rng, 0.25):
        question += scene.rng.choice(NOUN_CUES)
    frame = scene.rng.choice(scene.relation[f"noun_{side}"])
    return question, scene.fill(frame, scene.asked if manner.is_right else scene.other)


def _whole(scene: Scene, manner: Manner, side: str = "b") -> str:
    """The fact in a sentence; a wrong one has the right side that was named and the wrong one that was asked for."""
    fact = scene.asked
    if not manner.is_right and scene.is_alone:
        fact = scene.other
    elif not manner.is_right:
        fact = Fact(fact.a, scene.other.b) if side == "b" else Fact(scene.other.a, fact.b)
    return scene.fill(scene.rng.choice(scene.relation["whole"]), fact)


def _yes_or_no(scene: Scene, manner: Manner) -> tuple[str, str]:
    """Whether a fact holds, and the answer with or without the fact."""
    rng = scene.rng
    is_so = by_chance(rng, 0.5)
    stated = scene.asked if is_so else Fact(scene.asked.a, scene.other.b)
    if scene.is_alone and not is_so:
        stated = scene.other
    question = scene.fill(rng.choice(scene.relation["is"]), stated)
    if by_chance(rng, 0.2):
        question = scene.draw.expand(rng.choice(DOUBTS)) + scene.say(stated) + "." + rng.choice(YES_NO_CUES)
    elif by_chance(rng, 0.3):
        question += rng.choice(YES_NO_CUES[:2])
    says_yes = is_so == manner.is_right
    if by_chance(rng, 0.35):
        return question, "yes" if says_yes else "no"
    if says_yes:
        return question, "yes, " + _plainly(scene, stated)
    truth = scene.asked if not is_so else Fact(scene.asked.a, scene.other.b)
    if scene.is_alone and is_so:
        truth = scene.other
    return question, "no, " + _plainly(scene, truth)


def _plainly(scene: Scene, fact: Fact) -> str:
    return scene.fill(scene.relation["whole"][0], fact)


def _untold(scene: Scene, manner: Manner) -> tuple[str, str]:
    """A question about something that no fact is about; the wrong answer is made up of one that is there."""
    stranger = Fact(scene.draw.word(scene.relation["a"]), scene.draw.word(scene.relation["b"]))
    side = scene.rng.choice(("a", "b", "b"))
    questions: Sequence[str] = [each for each in scene.relation[f"ask_{side}"] if f"{{{'ab'[side == 'a']}}}" in each]
    if not questions:
        return _open_question(scene, manner, "noun phrase")
    question = scene.fill(scene.rng.choice(questions), stranger)
    if manner.is_right:
        return question, scene.rng.choice(UNTOLD)
    return question, scene.fill(scene.rng.choice(scene.relation[f"noun_{side}"]), scene.asked)
