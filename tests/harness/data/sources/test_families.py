"""Tests of the small dataset families, one or two adapters each."""

from collections import Counter

import pytest

from harness.data.files import read_file
from harness.data.row import DataError, LeftOut, Row
from harness.data.sources import (
    eli5,
    embedded,
    hc3,
    orca,
    pku,
    preferences,
    summaries,
    truthfulqa,
    ultrafeedback,
    webgpt,
    winogrande,
)
from suites.inputs import Turn

CLOZE = {"sentence": "The cup broke because the _ was hard.", "option1": "cup", "option2": "floor", "answer": "2"}


def read(path, source="s"):
    """The rows of a file."""
    return [Row(f"{path}, {where}", columns, source) for where, columns in read_file(path)]


def test_truthfulqa_generation(row):
    """The best answer is right, the incorrect ones are wrong, the question is the group."""
    made = truthfulqa.example_of_generation(
        row(question="Is it? ", best_answer=" No ", incorrect_answers=["Yes", " Maybe"], correct_answers=["No", "Not"])
    )
    assert made.prompt == (Turn("user", "Is it?"),)
    assert (made.response, made.wrong_responses) == ("No", ("Yes", "Maybe"))
    assert (
        made.group
        == truthfulqa.example_of_generation(row(question="is it", best_answer="Nope", incorrect_answers=[])).group
    )


def test_truthfulqa_multiple_choice_takes_the_labelled_choice(row):
    """The choice labelled 1 is right at any position; a row without exactly one is left out."""
    targets = {"choices": ["Yes", "No", "Maybe"], "labels": [0, 1, 0]}
    made = truthfulqa.example_of_multiple_choice(row(question="Is it?", mc1_targets=targets))
    assert (made.response, made.wrong_responses) == ("No", ("Yes", "Maybe"))
    for labels in ([0, 0, 0], [1, 1, 0], [1, 0]):
        wrong = row(question="Is it?", mc1_targets={**targets, "labels": labels})
        assert truthfulqa.example_of_multiple_choice(wrong) == LeftOut("not exactly one right choice")


@pytest.mark.parametrize(
    ("file", "adapter"),
    [("generation", truthfulqa.example_of_generation), ("multiple_choice", truthfulqa.example_of_multiple_choice)],
)
def test_real_truthfulqa_rows_are_all_used(real_data, file, adapter):
    """Every row becomes an example of its own with wrong answers, and the right one is not among them."""
    examples = [adapter(each) for each in read(real_data / f"truthful_qa/{file}/validation.jsonl")]
    assert len({example.example_id for example in examples}) == len(examples) == 409
    assert all(example.wrong_responses for example in examples)


def test_winogrande_cues_the_blank_and_takes_the_right_option(row):
    """The prompt names both options in their order; the answer is the right one."""
    made = winogrande.example(row(**CLOZE))
    assert made.prompt == (Turn("user", 'Fill in the blank with "cup" or "floor".\n' + CLOZE["sentence"]),)
    assert (made.response, made.wrong_responses) == ("floor", ("cup",))
    assert winogrande.example(row(**{**CLOZE, "answer": "1"})).response == "cup"
    assert winogrande.example(row(**{**CLOZE, "answer": ""})) == LeftOut("no answer given")


def test_winogrande_takes_an_answer_that_is_a_number(row):
    """The number 2 stands for the text 2; anything else is an error with its place."""
    assert winogrande.example(row(**{**CLOZE, "answer": 2})) == winogrande.example(row(**{**CLOZE, "answer": "2"}))
    with pytest.raises(DataError, match="line 1: column 'answer' must be one of"):
        winogrande.example(row(**{**CLOZE, "answer": 3}))


def test_winogrande_twins_are_one_group(row):
    """With a qID its stem decides; without one, options and opening words."""
    twin = {**CLOZE, "sentence": "The cup broke because the _ was thin.", "answer": "1"}
    other = {**CLOZE, "option1": "mug", "qID": "B-1"}
    with_ids = [
        winogrande.example(row(**each)).group for each in ({**CLOZE, "qID": "A-1"}, {**twin, "qID": "A-2"}, other)
    ]
    without = [winogrande.example(row(**each)).group for each in (CLOZE, twin, {**CLOZE, "option1": "mug"})]
    for groups in (with_ids, without):
        assert groups[0] == groups[1] != groups[2]


def test_real_winogrande_groups_without_ids_are_those_with_ids(real_data):
    """Without the qID, as on the hub, of 572 groups one falls apart and two become one."""
    rows = [*read(real_data / "winogrande/dev.jsonl"), *read(real_data / "winogrande/train_xs.jsonl")]
    bare = [Row(each.where, {k: v for k, v in each.columns.items() if k != "qID"}, each.source) for each in rows]
    pairs = {(winogrande.example(a).group, winogrande.example(b).group) for a, b in zip(rows, bare, strict=True)}
    stems, substitutes = Counter(stem for stem, _ in pairs), Counter(substitute for _, substitute in pairs)
    assert len(stems) == 572
    assert [count for count in stems.values() if count > 1] == [2]
    assert [count for count in substitutes.values() if count > 1] == [2]


def test_winogrande_is_searched_for_without_its_cue(row):
    """What training rows are compared with is the sentence, once with the blank and once filled in."""
    asked = winogrande.overlap_query(winogrande.example(row(**CLOZE)))
    assert asked.texts == (CLOZE["sentence"], "The cup broke because the floor was hard.")


@pytest.mark.parametrize(("judgement", "chosen"), [(0, "a"), (1, "b")])
def test_safe_rlhf_takes_the_safer_response(row, judgement, chosen):
    """The safer one is chosen; better_response_id decides only where the row has no other judgement."""
    columns = {"prompt": " Why? ", "response_0": "a ", "response_1": " b"}
    safer = pku.pair_of_safe_rlhf(row(**columns, safer_response_id=judgement, better_response_id=1 - judgement))
    better = pku.pair_of_safe_rlhf(row(**columns, better_response_id=judgement))
    assert safer == better
    assert (safer.chosen, safer.prompt) == (chosen, (Turn("user", "Why?"),))


def test_safe_rlhf_by_the_better_response_is_another_reading(row):
    """Where the judgements differ the two readings are opposite pairs."""
    columns = {"prompt": "Why?", "response_0": "a", "response_1": "b", "safer_response_id": 0, "better_response_id": 1}
    safer, better = pku.pair_of_safe_rlhf(row(**columns)), pku.better_pair_of_safe_rlhf(row(**columns))
    assert (safer.chosen, better.chosen) == ("a", "b")
    with pytest.raises(DataError, match="the column 'better_response_id' is missing"):
        pku.better_pair_of_safe_rlhf(row(**{k: v for k, v in columns.items() if k != "better_response_id"}))


def test_safe_rlhf_without_a_judgement_is_an_error(row):
    """The error names the column that is wanted."""
    with pytest.raises(DataError, match="the column 'safer_response_id' is missing"):
        pku.pair_of_safe_rlhf(row(prompt="Why?", response_0="a", response_1="b"))


def test_real_safe_rlhf_rows(real_data):
    """In the sample exactly the chosen answers are safe; the full columns of the current release are read as well."""
    for each in read(real_data / "PKU-SafeRLHF/test_one_safe.jsonl.gz"):
        made = pku.pair_of_safe_rlhf(each)
        safe = [each.text(f"response_{n}").strip() for n in (0, 1) if each.columns[f"is_response_{n}_safe"]]
        assert safe == [made.chosen]
    assert (
        len([pku.pair_of_safe_rlhf(each) for each in read(real_data / "PKU-SafeRLHF/alpaca-7b_test_3rows.jsonl")]) == 3
    )


def conversation(*texts):
    """Messages of user and assistant in turns."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def test_ultrafeedback_takes_the_last_messages_as_answers(row):
    """What the two sides share before them is the prompt."""
    made = ultrafeedback.pair(
        row(chosen=conversation("Q", "A", "Q2", " x"), rejected=conversation("Q", "A", "Q2", "y"))
    )
    assert made.prompt == (Turn("user", "Q"), Turn("assistant", "A"), Turn("user", "Q2"))
    assert (made.chosen, made.rejected) == ("x", "y")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (conversation("Q", "x"), conversation("Q", "x "), "equal answers"),
        (conversation("Q", "x"), conversation("R", "y"), "the two sides do not share their prompt"),
        (conversation("Q"), conversation("Q"), "no conversation that ends with an assistant turn"),
        ([], [], "no conversation that ends with an assistant turn"),
    ],
)
def test_ultrafeedback_rows_that_are_left_out(row, chosen, rejected, reason):
    """Each has its reason."""
    assert ultrafeedback.pair(row(chosen=chosen, rejected=rejected)) == LeftOut(reason)


def test_real_ultrafeedback_rows(real_data):
    """Only rows with equal answers are left out, and each prompt is the prompt column."""
    rows = read(real_data / "ultrafeedback_binarized/prefs.jsonl.gz")
    made = [ultrafeedback.pair(each) for each in rows]
    equal = [each.columns["chosen"][-1]["content"] == each.columns["rejected"][-1]["content"] for each in rows]
    assert [isinstance(each, LeftOut) for each in made] == equal
    for each, pair in zip(rows, made, strict=True):
        assert isinstance(pair, LeftOut) or pair.prompt[-1].text == each.text("prompt").strip()


def test_plain_preferences_with_and_without_source_and_group(row):
    """Columns decide where they are there; otherwise the dataset and the first user turn."""
    bare = preferences.pair(row(prompt="Q", chosen="x", rejected="y"))
    full = preferences.pair(row(prompt="Q", chosen="x", rejected="y", source="honesty", group="7"))
    assert (bare.source, full.source) == ("somewhere", "honesty")
    assert bare.group != full.group == preferences.pair(row(prompt="R", chosen="x", rejected="y", group="7")).group
    assert (
        full.group
        != preferences.pair(row(read_from="elsewhere", prompt="R", chosen="x", rejected="y", group="7")).group
    )


def test_real_preferences_of_messages(real_data):
    """System turns and several turns are kept, and answers are the messages' texts."""
    rows = read(real_data / "dpo_en_demo/prompt_chosen_rejected.jsonl.gz")
    made = [preferences.pair(each) for each in rows]
    assert Counter(pair.prompt[0].speaker for pair in made) == {"system": 39, "user": 110}
    assert [pair.chosen for pair in made] == [each.columns["chosen"][0]["content"].strip() for each in rows]


def test_prompts_keep_their_kind(row):
    """A prompt row is a question of that kind."""
    made = embedded.question(row(prompt=" How? ", kind="benign look-alike"))
    assert (made.prompt, made.kind) == ((Turn("user", "How?"),), "benign look-alike")


def test_ultrafeedback_keeps_the_score_gap(row):
    """The gap is that of the two scores, or nothing where there are none."""
    sides = {"chosen": conversation("Q", "x"), "rejected": conversation("Q", "y")}
    assert ultrafeedback.pair(row(**sides, score_chosen=8.5, score_rejected=6.0)).score_gap == 2.5
    assert ultrafeedback.pair(row(**sides)).score_gap is None


def test_plain_rated_answers(row):
    """Prompt and completion as texts or messages, the label as a flag."""
    made = preferences.rated_answer(row(prompt=" Q ", completion="x ", label=False, group=3, source="s"))
    messages = preferences.rated_answer(
        row(prompt=conversation("Q"), completion=[{"role": "assistant", "content": "x"}], label=0)
    )
    assert (made.prompt, made.response, made.is_good, made.source) == (messages.prompt, "x", False, "s")
    assert made.example_id == messages.example_id
    assert made.group != messages.group


def test_real_rated_answers_are_all_used(real_data):
    """Both labels are there, and system turns are kept."""
    made = [preferences.rated_answer(each) for each in read(real_data / "kto_en_demo/prompt_completion_label.jsonl")]
    assert len(made) == 150
    assert {each.is_good for each in made} == {True, False}
    assert not any(isinstance(each, LeftOut) for each in made)


def test_orca_with_and_without_a_system_turn(row):
    """A blank system turn, or none, leaves the question alone."""
    columns = {"question": " Q ", "chosen": " x", "rejected": "y "}
    assert orca.pair(row(system="S ", **columns)).prompt == (Turn("system", "S"), Turn("user", "Q"))
    for blank in ("", " ", None):
        made = orca.pair(row(system=blank, **columns))
        assert (made.prompt, made.chosen, made.rejected) == ((Turn("user", "Q"),), "x", "y")


def test_real_orca_rows_are_all_used(real_data):
    """Every row is a pair, most of them behind a system turn."""
    made = [orca.pair(each) for each in read(real_data / "orca_dpo_pairs/validation.jsonl")]
    assert len(made) == 142
    assert not any(isinstance(each, LeftOut) for each in made)
    assert {each.prompt[-1].speaker for each in made} == {"user"}


@pytest.mark.parametrize(("scores", "chosen"), [((0.5, -0.5), "a"), ((-1, 1), "b"), ((0, 0), None)])
def test_webgpt_takes_the_answer_of_higher_score(row, scores, chosen):
    """Ties are left out; the gap is that of the scores."""
    question = {"full_text": "Q"}
    made = webgpt.pair(row(question=question, answer_0="a", answer_1="b", score_0=scores[0], score_1=scores[1]))
    if chosen is None:
        assert made == LeftOut("tie")
    else:
        assert (made.chosen, made.score_gap) == (chosen, abs(scores[0] - scores[1]))


def test_real_webgpt_ties_are_left_out(real_data):
    """Exactly the rows whose two scores are equal."""
    rows = read(real_data / "webgpt_comparisons/test_pairs.jsonl")
    made = [webgpt.pair(each) for each in rows]
    ties = [each.columns["score_0"] == each.columns["score_1"] for each in rows]
    assert [each == LeftOut("tie") for each in made] == ties
    assert 0 < sum(ties) < len(rows) == 451


def test_real_summary_is_asked_for_as_in_the_paper(real_data):
    """The documented row: its choice is chosen, behind subreddit, title, post and TL;DR."""
    (each,) = read(real_data / "summarize_from_feedback/comparisons.jsonl")
    made = summaries.pair(each)
    info, choice = each.columns["info"], each.columns["choice"]
    assert made.prompt[0].text.startswith(f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {info['title']}\n\nPOST: ")
    assert made.prompt[0].text.endswith("\n\nTL;DR:")
    assert made.chosen == each.columns["summaries"][choice]["text"].strip()


def test_summaries_of_news_and_of_another_number(row):
    """CNN/DM rows have an article in place of a post; three summaries are no pair."""
    two = [{"text": "a"}, {"text": "b"}]
    made = summaries.pair(row(info={"article": "News.", "post": None}, summaries=two, choice=0))
    assert (made.prompt[0].text, made.chosen) == ("Article:\nNews.\n\nTL;DR:", "a")
    three = row(info={"article": "News."}, summaries=[*two, {"text": "c"}], choice=0)
    assert summaries.pair(three) == LeftOut("not exactly two summaries")


def test_real_forum_answers_are_compared_by_their_votes(real_data):
    """The most voted answer against the least; questions with one answer make none."""
    for each in read(real_data / "eli5_category/sample.jsonl"):
        votes = each.columns["answers"]["score"]
        made = eli5.pair(each)
        if len(set(votes)) == 1:
            assert isinstance(made, LeftOut)
            continue
        (pair,) = made
        assert pair.score_gap == max(votes) - min(votes)
        assert pair.chosen == each.columns["answers"]["text"][votes.index(max(votes))].strip()
        assert pair.prompt[0].text.startswith(each.columns["title"].strip())


def test_forum_rows_with_scores_amiss(row):
    """Lists of two lengths are no ranking."""
    answers = {"text": ["a", "b"], "score": [1]}
    assert eli5.pair(row(title="Q", selftext="", answers=answers)) == LeftOut("not as many scores as answers")


def test_real_hc3_row_prefers_people(real_data):
    """Each human answer makes a pair with each answer of ChatGPT."""
    (each,) = read(real_data / "HC3/wiki_csai_1row.jsonl")
    (pair,) = hc3.pair(each)
    assert pair.chosen == each.columns["human_answers"][0].strip()
    assert pair.rejected == each.columns["chatgpt_answers"][0].strip()


def test_hc3_makes_every_combination(row):
    """Two human answers and two of ChatGPT's are four pairs; without one side there is none."""
    made = hc3.pair(row(question="Q", human_answers=["a", "b"], chatgpt_answers=["c", " "]))
    assert [(each.chosen, each.rejected) for each in made if not isinstance(each, LeftOut)] == [("a", "c"), ("b", "c")]
    assert made.count(LeftOut("empty answer")) == 2
    assert hc3.pair(row(question="Q", human_answers=[], chatgpt_answers=["c"])) == LeftOut(
        "no answer by a human or none by ChatGPT"
    )
