"""Tests of what an experiment trains on and measures: merging, splitting by group, overlap, on small and real rows."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from harness.config.load import load_experiment, load_suite
from harness.config.schema import DataConfig, DatasetConfig, EvaluationConfig, SuiteConfig
from harness.data.experiment_data import leave_out_groups, leave_out_seen, load_experiment_data
from harness.data.make import OverlapQuery, first_user_text, make_pair, words
from harness.data.overlap import notes_on_dropped
from harness.data.row import DataError
from harness.measuring.kinds import roles_of, row_kinds
from suites.inputs import Example, Pair, RatedAnswer, Turn

HH, PROCESSED, SAFE = "Anthropic/hh-rlhf:helpful-base", "PKU-Alignment/processed-hh-rlhf", "PKU-Alignment/PKU-SafeRLHF"
TOPICS = ("bread", "coins", "rivers", "clocks", "sheep", "glass", "trains", "wool", "lamps", "maps", "salt", "boats")


def roles_in(**kinds):
    """The roles of a suite of one evaluation a role."""
    return roles_of(SuiteConfig("s", tuple(EvaluationConfig(role, kind, role) for role, kind in kinds.items())))


def transcripts(topics, n_each=2):
    """hh-rlhf rows, several a first human turn."""
    return [
        {
            "chosen": f"\n\nHuman: Tell me all about {topic} please\n\nAssistant: {topic} number {n} it is.",
            "rejected": f"\n\nHuman: Tell me all about {topic} please\n\nAssistant: No {topic}, {n}.",
        }
        for topic in topics
        for n in range(n_each)
    ]


def first_turns(rows):
    """The first human turns of rows, as words."""
    return {words(first_user_text(row.prompt)) for row in rows}


def small_experiment(write_rows, training, measured, **options):
    """Data of an experiment on hh-rlhf's train split, measured on its test split."""
    write_rows("Anthropic/hh-rlhf/helpful-base/train.jsonl", training)
    root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", measured).parents[3]
    stages = {key: options.pop(key) for key in ("method", "sft", "task_queries") if key in options}
    config = DataConfig(DatasetConfig(HH), {"preferences": DatasetConfig(HH)}, **options)
    return load_experiment_data(config, roles_in(preferences="reward"), data_root=root, seed=1, **stages)


def test_training_and_selection_are_apart_by_group(write_rows):
    """Two splits of a dataset need no dividing; selection rows are groups of the training split."""
    data = small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]), selection_fraction=0.3)
    assert len(data.training) + len(data.selection) == 20
    assert data.selection
    assert not {row.group for row in data.training} & {row.group for row in data.selection}
    assert len(data.pairs["preferences"].rows) == 4
    assert all("is used for" in note for note in data.notes)
    assert (data.sft, data.sft_selection, data.sft_dataset) == ((), (), None)


def test_many_selection_rows_are_sampled_by_group_and_the_others_trained_on(write_rows):
    """What is kept is a part of the whole share, and a note says so."""
    rows, measured = transcripts(TOPICS[:10]), transcripts(TOPICS[10:])
    whole = small_experiment(write_rows, rows, measured, selection_fraction=0.5, selection_limit=None)
    capped = small_experiment(write_rows, rows, measured, selection_fraction=0.5, selection_limit=4)

    assert len(capped.selection) == 4 < len(whole.selection)
    assert set(capped.selection) < set(whole.selection)
    assert len(capped.training) + 4 == len(whole.training) + len(whole.selection) == 20
    assert not {row.group for row in capped.training} & {row.group for row in capped.selection}
    told = f"Of {len(whole.selection)} rows for selection 4 are kept (data.selection_limit), the others are trained on."
    assert told in capped.notes
    assert told not in whole.notes


def test_splits_do_not_depend_on_the_order_of_rows(write_rows):
    """A shuffled file trains on, selects and measures the same rows."""
    first = small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]))
    rows = transcripts(TOPICS[:10])
    random.Random(0).shuffle(rows)
    second = small_experiment(write_rows, rows, transcripts(TOPICS[10:]))
    assert set(first.training) == set(second.training)
    assert set(first.selection) == set(second.selection)


def test_a_limit_is_a_sample_of_groups_and_counted(write_rows):
    """Rows of a role outside its sample are counted as left out; the order of rows does not matter."""
    write_rows("Anthropic/hh-rlhf/helpful-base/train.jsonl", transcripts(["suns", "moons", "stars"]))
    config = DataConfig(DatasetConfig(HH), {"preferences": DatasetConfig(HH, limit=7)})
    rows, samples = transcripts(TOPICS), []
    for _ in range(2):
        root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", rows).parents[3]
        data = load_experiment_data(config, roles_in(preferences="reward"), data_root=root, seed=1)
        samples.append(data.pairs["preferences"])
        random.Random(1).shuffle(rows)
    assert len(samples[0].rows) == 6
    assert samples[0].left_out == {"outside the sample of 7": 18}
    assert set(samples[1].rows) == set(samples[0].rows)


@pytest.mark.parametrize(
    ("turn", "answer"),
    [
        ("He wrote: tell me ALL about salt, please!", ""),
        ("tell me... all about “salt”; PLEASE?", ""),
        ("What shall I ask?", "Ask this: Tell me all about salt, please. "),
    ],
)
def test_planted_overlap_is_dropped_or_only_reported(write_rows, turn, answer):
    """A training row that quotes an evaluation question is dropped, or kept with overlap: warn; a note says so."""
    planted = {side: f"\n\nHuman: {turn}\n\nAssistant: {answer}{side}" for side in ("chosen", "rejected")}
    training, measured = [*transcripts(TOPICS[:8]), planted], transcripts(TOPICS[10:])
    dropped, kept = (small_experiment(write_rows, training, measured, overlap=overlap) for overlap in ("drop", "warn"))
    for data, n_rows, word in ((dropped, 16, "dropped"), (kept, 17, "kept (data.overlap is warn)")):
        assert len(data.training) + len(data.selection) == n_rows
        assert data.overlap.by_role["preferences"].n_training_rows == 1
        (note,) = notes_on_dropped(data.overlap, is_dropped=len(data.training) + len(data.selection) == 16)
        assert note.startswith(f"overlap with preferences: 1 training rows {word}")


def test_overlap_can_be_refused(write_rows):
    """With overlap: fail the error names role, counts, examples and what to do; without overlap there is no error."""
    measured = transcripts(TOPICS[8:])
    training = [*transcripts(TOPICS[:8]), *transcripts(TOPICS[8:], n_each=1)]
    with pytest.raises(DataError) as caught:
        small_experiment(write_rows, training, measured, overlap="fail")
    message = str(caught.value)
    assert message.startswith("data.overlap is fail, and 4 training rows overlap 4 questions of preferences, such as ")
    assert message.count('"Tell me all about ') == 3
    assert message.endswith("train or measure on other rows, or set data.overlap to drop or warn")
    assert small_experiment(write_rows, transcripts(TOPICS[:8]), measured, overlap="fail").training


@pytest.mark.parametrize(("method", "kind"), [("dpo", Pair), ("kto", RatedAnswer), ("sft", Example)])
def test_each_method_gets_its_kind_of_rows(write_rows, method, kind):
    """Of the same pairs: pairs, both sides rated, or the chosen answers."""
    data = small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]), method=method)
    rows = (*data.training, *data.selection)
    assert {type(row) for row in rows} == {kind}
    assert len(rows) == (40 if method == "kto" else 20)
    assert {type(row) for row in data.pairs["preferences"].rows} == {Pair}


def test_a_first_stage_is_kept_apart_as_training_is(write_rows):
    """Rows of the first stage that are measured, overlap, or select for the second are not trained on."""
    rows = transcripts(TOPICS)
    path = write_rows(
        "sft.jsonl", [{"prompt": f"Tell me all about {topic} please", "completion": "Yes."} for topic in TOPICS]
    )
    sft = DatasetConfig(str(path))
    data = small_experiment(write_rows, rows[:20], rows[20:], sft=sft)
    measured = {row.group for row in data.pairs["preferences"].rows}
    assert data.sft_dataset is not None
    assert len(data.sft_dataset.rows) == 12
    assert {row.response for row in data.sft} == {"Yes."}
    assert len(data.sft) + len(data.sft_selection) == 10
    assert data.overlap.by_role["preferences"].n_training_rows == 2
    trained = {row.group for row in (*data.training, *data.sft)}
    selected = {row.group for row in (*data.selection, *data.sft_selection)}
    assert data.selection
    assert data.sft_selection
    assert not trained & selected
    assert not (trained | selected) & measured


def test_a_first_stage_without_rows_left_is_an_error(write_rows):
    """The line names the stage's own dataset."""
    path = write_rows("sft.jsonl", [{"prompt": "Who has seen the wind?", "completion": "Nobody."}])
    asked = {"x": [OverlapQuery(("Who has seen the wind?",))]}
    with pytest.raises(DataError, match=r"sft\.jsonl, split train: no row is left .* 1 overlap"):
        small_experiment(
            write_rows,
            transcripts(TOPICS[:10]),
            transcripts(TOPICS[10:]),
            sft=DatasetConfig(str(path)),
            task_queries=asked,
        )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_groups=st.integers(4, 12),
    method=st.sampled_from(["dpo", "kto", "sft"]),
    first=st.sampled_from([None, "same", "some"]),
    own_test=st.booleans(),
    seed=st.integers(0, 5),
)
def test_training_selection_and_report_rows_never_share_a_group(write_rows, n_groups, method, first, own_test, seed):
    """Whatever is trained on in one or two stages, of one split or several, the three splits are apart."""
    rows = [
        {"prompt": f"Tell me all about {topic} please", "chosen": f"{topic} {n}", "rejected": "No."}
        for topic in TOPICS[:n_groups]
        for n in range(2)
    ]
    own = write_rows("own.jsonl", rows)
    some = write_rows("some.jsonl", [{**row, "chosen": "Yes."} for row in rows[::3]])
    test = write_rows("test.jsonl", [{**row, "rejected": "Never."} for row in rows[::2][: n_groups // 3]])
    sft = {None: None, "same": DatasetConfig(str(own)), "some": DatasetConfig(str(some))}[first]
    measured = DatasetConfig(str(test if own_test else own))
    config = DataConfig(DatasetConfig(str(own)), {"a": measured, "b": measured, "c": measured})
    roles = roles_in(a="reward", b="perplexity", c="generations")
    try:
        data = load_experiment_data(config, roles, data_root=None, seed=seed, method=method, sft=sft)
    except DataError:
        reject()  # too few groups for three splits
    trained = {row.group for row in (*data.training, *data.sft)}
    selected = {row.group for row in (*data.selection, *data.sft_selection)}
    reported = {row.group for _, loaded in data.report_datasets for row in loaded.rows}
    assert trained
    assert selected
    assert reported
    assert not trained & selected
    assert not trained & reported
    assert not selected & reported


def test_what_lm_eval_asks_counts_too(write_rows):
    """Questions from elsewhere are looked for as the roles' own are."""
    asked = {"truthfulqa_mc1": [OverlapQuery(("Tell me all about bread please",))]}
    data = small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]), task_queries=asked)
    assert data.overlap.by_role["truthfulqa_mc1"].n_training_rows == 2
    assert len(data.training) + len(data.selection) == 18


def test_nothing_left_to_train_on_is_an_error(write_rows):
    """All rows overlap: one line with the counts."""
    asked = {"x": [OverlapQuery((f"Tell me all about {topic} please",)) for topic in TOPICS]}
    with pytest.raises(DataError, match=r"no row is left to train on \(20 read, 20 usable, 20 overlap"):
        small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]), task_queries=asked)


def test_a_single_group_cannot_be_divided(write_rows):
    """One split of one group leaves nothing to measure."""
    root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", transcripts(TOPICS[:1])).parents[3]
    config = DataConfig(DatasetConfig(HH), {"preferences": DatasetConfig(HH)})
    with pytest.raises(DataError, match="too few groups to be divided"):
        load_experiment_data(config, roles_in(preferences="reward"), data_root=root, seed=1)


def real_experiment(real_data, *overrides):
    """Data of the preset tiny-real on the suite alignment."""
    config = load_experiment("tiny-real", overrides=overrides)
    return load_experiment_data(
        config.data, roles_of(load_suite("alignment", row_kinds())), data_root=real_data, seed=config.seed
    )


def test_one_real_split_is_divided_into_three_by_group(real_data):
    """Training, selection and report rows of helpful-base share no first human turn; a note reports the division."""
    data = real_experiment(real_data)
    parts = [data.training, data.selection, data.pairs["preferences"].rows]
    turns = [first_turns(part) for part in parts]
    assert all(parts)
    assert len(set().union(*turns)) == sum(map(len, turns))
    assert 0.25 < len(turns[2]) / len(first_turns(data.training_dataset.rows)) < 0.35
    assert any("divided by group" in note for note in data.notes)
    assert any("test is its only split there, used for training" in note for note in data.notes)
    assert "kept for training" in data.pairs["preferences"].left_out
    assert {role: len(loaded.rows) for role, loaded in data.examples.items()} == {
        "truthfulness": 409,
        "coreference": 630,
        "safety": 1330,
        "neutral_text": 42,
    }


def test_real_safety_rows_are_not_the_training_rows_in_other_columns(real_data):
    """Trained on harmless-base and measured on processed-hh-rlhf, no first human turn is on both sides."""
    data = real_experiment(
        real_data,
        "data.training.name=Anthropic/hh-rlhf:harmless-base",
        f"data.roles.safety.name={PROCESSED}",
    )
    trained = first_turns((*data.training, *data.selection))
    measured = first_turns(data.examples["safety"].rows)
    assert len(trained) > 500
    assert len(measured) > 200
    assert not trained & measured
    assert any("measured by safety (as PKU-Alignment/processed-hh-rlhf)" in note for note in data.notes)


def test_a_sample_of_real_safety_rows_shares_no_group_with_training(real_data):
    """A limit is applied after the groups were divided, so that the sample is as large as it says."""
    data = real_experiment(
        real_data,
        "data.training.name=Anthropic/hh-rlhf:harmless-base",
        f"data.roles.safety={{name: {PROCESSED}, limit: 300}}",
    )
    measured = first_turns(data.examples["safety"].rows)
    assert 290 < len(data.examples["safety"].rows) <= 300
    assert not first_turns((*data.training, *data.selection)) & measured


def test_a_limited_training_set_has_its_rows_beside_a_report_of_the_same_split(tmp_path):
    """Of one split, training gets the rows that its limit says from what is left after the report's share."""
    rows = [{"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(200)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_experiment(
        "tiny",
        overrides=[
            f"data.training={{name: {file}, limit: 60}}",
            f"data.roles.preferences={{name: {file}, limit: 40}}",
        ],
    )
    data = load_experiment_data(config.data, roles_of(load_suite("alignment", row_kinds())), data_root=None, seed=1)

    assert len(data.training) + len(data.selection) == 60
    assert len(data.pairs["preferences"].rows) == 40
    assert data.left_out["outside the sample of 60"] + data.left_out["kept for the report"] == 140


def test_embedded_default_has_no_overlap_at_all():
    """The preset tiny trains on nothing that it measures."""
    config = load_experiment("tiny")
    data = load_experiment_data(
        config.data, roles_of(load_suite("alignment", row_kinds())), data_root=None, seed=config.seed
    )
    assert data.overlap.training_ids == frozenset()
    assert not any("overlap" in note or "divided" in note for note in data.notes)
    assert len(data.training) + len(data.selection) == len(data.training_dataset.rows)
    assert {row.source for row in data.training} == {row.source for row in data.pairs["preferences"].rows}


def own_split(write_rows, topics=TOPICS):
    """An experiment that trains on the very rows that it measures."""
    root = write_rows("Anthropic/hh-rlhf/helpful-base/train.jsonl", transcripts(topics)).parents[3]
    dataset = DatasetConfig(HH, split="train")
    config = DataConfig(dataset, {"preferences": dataset}, overlap="fail")
    return config, root, roles_in(preferences="reward")


def test_where_nothing_was_trained_here_every_row_is_measured(write_rows):
    """Nobody knows which rows an adapter from elsewhere saw; the others are not said to be its training rows."""
    config, root, roles = own_split(write_rows)
    divided = load_experiment_data(config, roles, data_root=root, seed=1)
    data = load_experiment_data(config, roles, data_root=root, seed=1, method=None)

    assert len(divided.pairs["preferences"].rows) < len(data.pairs["preferences"].rows) == 2 * len(TOPICS)
    assert data.pairs["preferences"].left_out == {}
    assert (data.training, data.selection) == ((), ())
    assert not any("divided" in note or "training" in note or "overlap" in note for note in data.notes)


def test_rulers_keep_the_rows_that_overlap_nothing_measured(write_rows):
    """A bag of words is fitted on the training split, without what it is then judged on."""
    write_rows("Anthropic/hh-rlhf/helpful-base/train.jsonl", transcripts(TOPICS[:8]))
    root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", transcripts(TOPICS[6:])).parents[3]
    config = DataConfig(DatasetConfig(HH), {"preferences": DatasetConfig(HH)}, overlap="fail")
    data = load_experiment_data(config, roles_in(preferences="reward"), data_root=root, seed=1, method=None)

    assert len(data.pairs["preferences"].rows) == 12
    assert first_turns(data.training) == {words(f"Tell me all about {topic} please") for topic in TOPICS[:6]}


def test_rows_that_were_trained_on_elsewhere_are_not_measured(write_rows):
    """By group, by what stands in a longer text, and in lm-eval's tasks; each role and task says how many it lost."""
    config, root, _ = own_split(write_rows)
    config = replace(config, roles={"preferences": config.training, "prompts": config.training})
    data = load_experiment_data(
        config, roles_in(preferences="reward", prompts="generations"), data_root=root, seed=1, method=None
    )
    quoted = make_pair(
        (Turn("user", "He said: tell me all about bread, please! What then?"),), "Nothing.", "Leave.", source=""
    )
    seen = (*(row for row in data.pairs["preferences"].rows if "wool" in row.prompt[0].text), quoted)
    questions = [OverlapQuery((f"Tell me all about {topic} please",)) for topic in ("salt", "wool", "maps")]

    kept, tasks = leave_out_seen(data, config, {"mine.jsonl": seen}, {"lm_eval/own": questions})

    left = first_turns(kept.pairs["preferences"].rows)
    assert left == {words(f"Tell me all about {topic} please") for topic in TOPICS if topic not in ("bread", "wool")}
    assert left == first_turns(kept.questions["prompts"].rows)
    assert kept.pairs["preferences"].left_out == {"overlapping mine.jsonl": 4}
    assert tasks == {"lm_eval/own": frozenset({1})}
    assert kept.notes[-1] == (
        "--trained-on mine.jsonl: rows that overlap it are not measured: 4 of preferences, 2 of prompts, "
        "1 of lm_eval/own"
    )


def test_rows_that_have_nothing_in_common_are_all_measured(write_rows):
    """The note says that they were searched."""
    config, root, roles = own_split(write_rows, TOPICS[:4])
    data = load_experiment_data(config, roles, data_root=root, seed=1, method=None)
    other = make_pair((Turn("user", "Is the sea deep?"),), "Yes.", "No.", source="")

    kept, tasks = leave_out_seen(data, config, {"a": [other]}, {})

    assert (kept.pairs, tasks) == (data.pairs, {})
    assert kept.notes[-1] == "--trained-on a: no measured row overlaps it"
    with pytest.raises(DataError, match="--trained-on all: every row of preferences overlaps it"):
        leave_out_seen(data, config, {"all": data.pairs["preferences"].rows}, {})


def test_groups_that_an_adapter_was_trained_on_are_not_measured(write_rows):
    """Whatever this experiment trains on: the adapter's own record says what it saw."""
    data = small_experiment(write_rows, transcripts(TOPICS[:10]), transcripts(TOPICS[10:]))
    (one, *_) = data.pairs["preferences"].rows

    kept = leave_out_groups(data, frozenset({one.group, "another"}))

    assert {row.group for row in kept.pairs["preferences"].rows} == {
        row.group for row in data.pairs["preferences"].rows
    } - {one.group}
    assert kept.pairs["preferences"].left_out == {"trained on by an adapter": 2}
    assert kept.notes[-1].startswith("2 rows of preferences are not measured")
    assert leave_out_groups(data, frozenset()) == data
    with pytest.raises(DataError, match="preferences: an adapter was trained on every row"):
        leave_out_groups(data, frozenset(row.group for row in data.pairs["preferences"].rows))
