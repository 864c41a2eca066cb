"""Tests of configuration files: precedence, strictness, the words of errors, and the way there and back."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.load import (
    ConfigError,
    check_roles,
    load_experiment,
    load_suite,
    preset_names,
    suite_names,
    to_dict,
    to_yaml,
)
from harness.config.schema import DatasetConfig, ExperimentConfig
from harness.measuring.kinds import row_kinds
from reports.errors import UserError

READABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
"""Characters of text that a file can hold."""
MINIMAL = "name: mine\ndata: {training: {name: embedded/preferences}, roles: {}}\n"


@pytest.fixture
def write(tmp_path):
    def to(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def error_of(*overrides, **arguments):
    with pytest.raises(UserError) as caught:
        load_experiment(overrides=overrides, **arguments)
    return str(caught.value)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_survives_the_way_through_yaml(preset, write):
    """The resolved YAML of each preset loads back to an equal configuration."""
    config = load_experiment(preset)
    assert load_experiment(config_file=write(to_yaml(config))) == config
    assert config.name == preset


@pytest.mark.parametrize("suite", suite_names())
def test_every_suite_survives_the_way_through_yaml(suite, write):
    """The resolved YAML of each suite loads back to an equal configuration, from a file as from its name."""
    config = load_suite(suite, row_kinds())
    assert load_suite(str(write(to_yaml(config))), row_kinds()) == config


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    preset=st.sampled_from(preset_names()),
    learning_rate=st.floats(min_value=1e-300, max_value=1e9),
    description=st.text(READABLE, max_size=20),
    system_prompt=st.none() | st.text(READABLE, max_size=20),
    role=st.text(READABLE, min_size=1, max_size=9),
    modules=st.lists(st.text(READABLE, min_size=1, max_size=9), min_size=1, max_size=3),
)
def test_any_value_survives_the_way_through_yaml(
    tmp_path, preset, learning_rate, description, system_prompt, role, modules
):
    """Numbers like 5e-6, texts that look like numbers or flags, and any other text come back as they were."""
    config = load_experiment(preset)
    config = dataclasses.replace(
        config,
        description=description,
        training=dataclasses.replace(config.training, learning_rate=learning_rate),
        model=dataclasses.replace(config.model, system_prompt=system_prompt),
        data=dataclasses.replace(config.data, roles={role: DatasetConfig(name="on", split="5e-6")}),
        lora=dataclasses.replace(config.lora, target_modules=tuple(modules)),
    )
    path = tmp_path / "there.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_experiment(config_file=path) == config


def test_override_wins_over_file_and_file_over_default(write):
    """One key set nowhere, in the file, and in both shows the order of precedence."""
    path = write(MINIMAL + "training: {beta: 0.5, epochs: 3}\n")
    config = load_experiment(config_file=path, overrides=["training.beta=0.7", "training.beta=0.9"])
    assert (config.training.beta, config.training.epochs, config.training.batch_size) == (0.9, 3.0, 8)


def test_default_preset_is_tiny():
    """Nothing named is the preset tiny."""
    assert load_experiment() == load_experiment("tiny")


@pytest.mark.parametrize(
    ("typed", "value"), [("5e-6", 5e-6), ("1E3", 1000.0), ("1", 1.0), (".5", 0.5), ("+2.5e+1", 25.0)]
)
def test_numbers_are_read_as_yaml_1_2_has_them(typed, value):
    """An exponent needs no point, and a whole number does for a number."""
    rate = load_experiment(overrides=[f"training.learning_rate={typed}"]).training.learning_rate
    assert rate == value
    assert type(rate) is float


def test_on_and_off_are_words():
    """`on` is the choice, not the flag that YAML 1.1 made of it."""
    assert load_experiment(overrides=["training.gradient_checkpointing=on"]).training.gradient_checkpointing == "on"


def test_override_sets_a_section_a_list_or_null():
    """The value of an override is YAML and replaces what was there."""
    config = load_experiment(
        overrides=[
            "data.roles.prompts={name: embedded/safety, limit: 3}",
            "training.loss_type=[sigmoid, sft]",
            "training.loss_weights=[1, 0.5]",
            "data.roles.extra.name=embedded/prompts",
            "model.system_prompt=",
            "lora.target_modules=[q_proj]",
        ]
    )
    assert config.data.roles["prompts"] == DatasetConfig(name="embedded/safety", limit=3)
    assert config.data.roles["extra"] == DatasetConfig(name="embedded/prompts")
    assert config.training.loss_type == ("sigmoid", "sft")
    assert config.training.loss_weights == (1.0, 0.5)
    assert config.model.system_prompt is None
    assert config.lora.target_modules == ("q_proj",)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.quantisation=nf4", ["unknown key model.quantisation", "did you mean quantization?", "revision"]),
        ("trainin.beta=1", ["unknown key trainin", "did you mean training?"]),
        ("data.roles.prompts={name: x, splitt: y}", ["unknown key data.roles.prompts.splitt", "split"]),
        ("model.quantization=int8", ["model.quantization must be one of nf4, none", 'got "int8"']),
        ("lora.rank=true", ["lora.rank must be a whole number from 1 to 16,384", "got true"]),
        ("lora.rank=1.0", ["lora.rank must be a whole number", "got 1.0"]),
        ("lora.rank=0", ["from 1 to 16,384", "got 0"]),
        ("lora.dropout=1", ["lora.dropout must be a number of at least 0 and below 1", "got 1"]),
        ("lora.target_modules=[]", ["all-linear or a list that is not empty, each text that is not empty", "got []"]),
        ("lora.target_modules=[1]", ["lora.target_modules must be", "got [1]"]),
        ("training.beta=0", ["training.beta must be a number above 0", "got 0"]),
        ("training.beta=.nan", ["training.beta must be a number above 0"]),
        ("training.learning_rate=fast", ["training.learning_rate must be a number above 0", 'got "fast"']),
        ("training.learning_rate=", ["training.learning_rate must be a number", "got null"]),
        ("training=5", ["training must be a mapping with keys from method, loss_type", "got 5"]),
        ("training.epochs=-1", ["above 0"]),
        ("data.selection_fraction=1", ["above 0 and below 1"]),
        ("data.max_prompt_tokens=4096", ["data.max_prompt_tokens must be below data.max_tokens (256)", "got 4096"]),
        ("training.loss_weights=[1, 2]", ["one number for each training.loss_type (1)", "got 2"]),
        ("data.lm_eval_tasks=arc", ["data.lm_eval_tasks must be a list, each text", 'got "arc"']),
        ("data.roles=[a]", ["data.roles must be a mapping of names", 'got ["a"]']),
        ("data.training.name=", ["data.training.name must be text that is not empty", "got null"]),
        ("model.allow_pickled_weights=1", ["must be true or false", "got 1"]),
        ("seed=-1", ["seed must be a whole number of at least 0"]),
        ("model.name.x=1", ['model.name is "embedded"', "no keys below"]),
        ("beta", ["must be section.key=value"]),
        ("=1", ["must be section.key=value"]),
        ("training.beta=[1", ["not valid YAML"]),
        ("training.beta=!!python/name:os.system x", ["not valid YAML", "tag"]),
        ("data.roles={a: &a {name: x}, b: *a}", ["aliases", "not supported"]),
        ("seed=\x07", ["not valid YAML"]),
        ("seed=" + "x" * 3 + ": [", ["not valid YAML"]),
        ("seed=" + "1" * 5000, ["not valid YAML"]),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(override, words):
    """Key, what is allowed and what was given stand in one line that begins with the option as typed."""
    message = error_of(override)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"-o {override}"[:200].replace("\x07", "\\x07"))
    for word in words:
        assert word in message


def test_all_problems_of_a_file_are_told_unknown_keys_first(write):
    """A misspelt key comes before the missing one that it causes, each in one line with the file."""
    path = write("name: 3\ndata: {training: {nmae: x}, roles: {}}\nlora: {rank: 0}\n")
    lines = error_of(config_file=path).splitlines()
    assert [line.removeprefix(f"{path}: ").split(",")[0].split(";")[0] for line in lines] == [
        "unknown key data.training.nmae (did you mean name?)",
        "name must be text that a folder can be named by: 1 to 80 characters",
        "the key data.training.name is missing",
        "lora.rank must be a whole number from 1 to 16",
    ]


def test_a_long_value_is_cut():
    """A whole paragraph in the wrong place does not fill the screen."""
    assert len(error_of(f"seed={'word ' * 200}".rstrip())) < 1500
    assert "..." in error_of(f"seed={'word ' * 200}".rstrip())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [1\nx: 2\n", "line 2: not valid YAML"),
        ("name: a\nname: b\n", "line 2: not valid YAML: the key 'name' occurs twice"),
        (MINIMAL + "lora: {rank: 1, rank: 2}\n", "line 3: not valid YAML: the key 'rank' occurs twice"),
        ("1: a\n", "line 1: not valid YAML: a key must be text, got 1"),
        ("- a\n", "a mapping of keys to values is needed at the top, got a list"),
        ("", "a mapping of keys to values is needed at the top, got nothing"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("name: !!timestamp 2020-01-01\n", "line 1: not valid YAML: the tag"),
    ],
)
def test_broken_files_name_file_and_line(write, text, words):
    """What is no configuration at all is one line, too."""
    path = write(text)
    message = error_of(config_file=path)
    assert message.startswith(str(path))
    assert words in message
    assert len(message.splitlines()) == 1


def test_missing_and_unreadable_files(tmp_path):
    """A missing file, a folder and a file that is no text are told apart."""
    assert "no such file" in error_of(config_file=tmp_path / "nope.yaml")
    assert "cannot be read" in error_of(config_file=tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    assert "not UTF-8" in error_of(config_file=tmp_path / "latin.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_suite(str(tmp_path / "nope.yml"), row_kinds())


def test_unknown_preset_and_suite_list_those_there_are():
    """An unknown name comes with the known ones and the nearest."""
    message = error_of(preset="tinny")
    assert "did you mean tiny?" in message
    assert "tiny-real" in message
    with pytest.raises(ConfigError, match=re.escape("known are: alignment, smoke")):
        load_suite("nothing", row_kinds())


def test_preset_and_file_exclude_each_other(write):
    """Two sources are not merged in silence."""
    assert "exclude each other" in error_of(preset="tiny", config_file=write(MINIMAL))
    assert r"--preset \x1f and" in error_of(preset="\x1f", config_file=write(MINIMAL))


@pytest.mark.parametrize(
    ("evaluations", "words"),
    [
        ("[]", "evaluations must be a list"),
        (
            "[{name: a, kind: perplexity, role: r}, {name: a, kind: reward, role: r}]",
            "evaluations.1.name must be unique, got 'a' again",
        ),
        (
            "[{name: a, kind: perplexty, role: r}]",
            "evaluations.0.kind must be one of perplexity, reward, lm_eval, generations, drift",
        ),
        ("[{name: a, kind: lm_eval, role: r}]", "evaluations.0.role must be lm_eval_tasks or capability"),
        ("[{name: a, knd: x, kind: reward, role: r}]", "unknown key evaluations.0.knd (did you mean kind?)"),
        ("[{kind: reward, role: r}]", "the key evaluations.0.name is missing"),
        ("[3]", "evaluations.0 must be a mapping with keys from name"),
        (
            "[{name: a, kind: reward, role: r, limit: 0}]",
            "evaluations.0.limit must be a whole number from 1 to 1,000,000,000 or",
        ),
    ],
)
def test_wrong_suites(write, evaluations, words):
    """Suites are as strict as experiments."""
    with pytest.raises(ConfigError) as caught:
        load_suite(str(write(f"name: s\nevaluations: {evaluations}\n")), row_kinds())
    assert words in str(caught.value).splitlines()[0]


def test_check_roles_passes_for_every_preset_and_suite():
    """What ships with the project fits together."""
    for preset in preset_names():
        for suite in suite_names():
            check_roles(load_experiment(preset), load_suite(suite, row_kinds()), row_kinds())


def test_check_roles_names_role_evaluation_and_what_is_bound():
    """A role without a dataset, and lm-eval without tasks, are told with what there is."""
    config = load_experiment(
        overrides=["data.roles={preferences: {name: embedded/preferences}}", "data.lm_eval_tasks=[]"]
    )
    with pytest.raises(ConfigError) as caught:
        check_roles(config, load_suite("alignment", row_kinds()), row_kinds())
    lines = str(caught.value).splitlines()
    assert "evaluation truthfulness (kind perplexity) needs data.roles.truthfulness" in lines[0]
    assert lines[0].endswith("bound are: preferences")
    assert any("needs data.lm_eval_tasks" in line for line in lines)
    assert not any("needs data.capability_tasks" in line for line in lines)


def test_to_dict_holds_plain_values_only():
    """The resolved configuration can be written as JSON: lists for tuples, mappings for dataclasses."""
    plain = to_dict(load_experiment())
    assert plain["training"]["loss_type"] == ["sigmoid"]
    assert plain["data"]["training"]["name"] == "embedded/preferences"
    assert set(plain) == {field.name for field in dataclasses.fields(ExperimentConfig)}


def test_reading_leaves_the_heavy_packages_alone():
    """A preset is read without torch, datasets or pandas."""
    import subprocess
    import sys

    program = (
        "import sys; from harness.config.load import load_experiment; load_experiment();"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_source_of_an_error_is_the_file_where_no_override_touched_the_key(write):
    """An override elsewhere is not blamed."""
    path = write(MINIMAL + "lora: {rank: 0}\n")
    message = error_of("training.beta=0.3", config_file=path)
    assert message.startswith(f"{path}: lora.rank")
    assert isinstance(path, Path)


def test_an_unknown_key_below_an_optional_section_is_named():
    """`columns`, which may also be null, is a section like any other."""
    message = error_of("data.training.columns={prompt: q, chosenn: a}")
    assert "unknown key data.training.columns.chosenn (did you mean chosen?)" in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.method=kto", "training.loss_type=[ipo]"], ["training.loss_type is for the method dpo alone"]),
        (["training.method=sft", "controls=[sft]"], ["controls must be empty"]),
        (["sft={data: {name: x}, training: {method: dpo}}"], ["sft.training.method must be sft", "'dpo'"]),
        (["answers.top_p=1.5"], ["answers.top_p must be a number above 0 and of at most 1", "got 1.5"]),
    ],
)
def test_keys_that_contradict_each_other_are_refused(overrides, words):
    """What a method cannot do is told before anything is loaded."""
    with pytest.raises(ConfigError) as error:
        load_experiment(overrides=overrides)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.chat_template_date=tomorrow", "model.chat_template_date must be a date such as 2024-07-26"),
        (
            "model.chat_template_kwargs={messages: 1}",
            "model.chat_template_kwargs.messages must be a name that a template",
        ),
        ("model.chat_template_kwargs={a b: 1}", "model.chat_template_kwargs.a b must be a name"),
        ("model.chat_template_kwargs={a: [1]}", "model.chat_template_kwargs.a must be"),
        ("model={template: instruction, chat_template: x.jinja}", "model.chat_template has no effect where"),
    ],
)
def test_settings_of_chat_templates_are_checked(override: str, words: str) -> None:
    """Before anything is loaded, with the key and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        load_experiment("tiny", overrides=(override,))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["../../../x", "a/b", "a\\b", "x\ny", "..", "x" * 300, "a\x1b[2J"])
def test_names_of_suites_and_experiments_are_no_paths(write, name):
    """The folder of a run is called by them; so is an evaluation in reports."""
    import json

    said = error_of(f"name={json.dumps(name)}")
    assert "name must be text that a folder can be named by: 1 to 80 characters, no / \\ : *" in said
    for text in (
        f"name: {json.dumps(name)}\nevaluations: [{{name: a, kind: reward, role: preferences}}]\n",
        f"name: a\nevaluations: [{{name: {json.dumps(name)}, kind: reward, role: preferences}}]\n",
    ):
        with pytest.raises(ConfigError, match="name must be text that a folder can be named by"):
            load_suite(str(write(text)), row_kinds())


@pytest.mark.parametrize("depth", [100, 3000, 20_000])
def test_a_file_is_nested_only_so_deep(write, depth):
    """One line, whatever the parser itself can do."""
    for text in (f"name: {'[' * depth}{']' * depth}\n", f"name: {'{a: ' * depth}1{'}' * depth}\n"):
        with pytest.raises(UserError, match=r"line 1: not valid YAML: nested deeper than 64 levels"):
            load_experiment(config_file=write(text))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs=1e308", "training.epochs must be a number above 0 and of at most 10,000"),
        (f"training.batch_size={10**30}", "training.batch_size must be a whole number from 1 to 1,000,000,000"),
        (f"training.max_steps={10**30}", "training.max_steps must be a whole number from 1 to 10,000,000 or null"),
        (f"lora.alpha={10**400}", "lora.alpha must be a whole number from 1 to 1,000,000,000, got 1000"),
        ("lora.rank=1000000000", "lora.rank must be a whole number from 1 to 16,384"),
        ("seeds=1000000000000", "seeds must be a whole number from 1 to 1,000"),
        (
            "training.learning_rate=1e300",
            "must be a number above 0 and of at most 1,000,000,000",
        ),
        ("training.loss_weights=[-1e300]", "training.loss_weights must be a list, each a number from -1,000,000,000"),
        (f"scoring.max_pack_tokens={10**30}", "scoring.max_pack_tokens must be a whole number from 32 to"),
        ("controls=[sft, sft]", 'controls must hold each value once, got "sft" again'),
        ("data.lm_eval_tasks=[a, b, a]", 'data.lm_eval_tasks must hold each value once, got "a" again'),
        ("training.loss_type=[ipo, ipo]", "training.loss_type must hold each value once"),
        ("answers.top_p=0.9", "answers.top_p has no effect where answers.temperature is 0, got 0.9"),
        (f"{'a.' * 5000}b=1", "must be section.key=value"),
        ("model.name=caf\udce9", "model.name holds half of a surrogate pair, as bytes that are not UTF-8 give"),
        ("data.lm_eval_tasks=['a\0']", "not valid YAML"),
        ('data.lm_eval_tasks=["a\\0"]', "data.lm_eval_tasks.0 holds a NUL character"),
    ],
)
def test_a_value_without_bounds_or_sense_is_one_line(override: str, words: str) -> None:
    """What would fail in a library, run for ever, or count something twice, is told with its bounds."""
    message = error_of(override)
    assert words in message
    assert len(message.splitlines()) == 1
    assert message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "Be brief. # always",
        "# Rules",
        "yes",
        "5",
        "1e5",
        "[x]",
        "{a: b}",
        "a: b",
        '"quoted"',
        "*x",
        "- a",
        "tr\nue",
        "~",
        " x",
    ],
)
def test_a_key_that_holds_text_takes_it_as_it_is_typed(text: str) -> None:
    """Nothing of it is YAML; so it is for texts within sections, roles and columns."""
    config = load_experiment(
        overrides=[f"model.system_prompt={text}", f"description={text}", f"data.roles.mine.name={text}",
                   f"data.roles.mine.split={text}"]
    )  # fmt: skip
    assert config.model.system_prompt == config.description == text
    assert (config.data.roles["mine"].name, config.data.roles["mine"].split) == (text, text)


@pytest.mark.parametrize("nothing", ["", " ", "null"])
def test_nothing_or_null_is_null(nothing: str) -> None:
    """Also behind spaces around the sign."""
    config = load_experiment(overrides=["model.system_prompt=Be brief.", f"model.system_prompt={nothing}"])
    assert config.model.system_prompt is None
    assert load_experiment(overrides=["model.system_prompt = Be brief."]).model.system_prompt == "Be brief."


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("evaluations: [{name: a, kind: reward, role: r, max_new_tokens: 5}]",
         "evaluations.0.max_new_tokens has no effect for the kind reward: it is for generations and drift"),
        ("evaluations: [{name: a, kind: drift, role: r, chat_template: true}]",
         "evaluations.0.chat_template has no effect for the kind drift: it is for lm_eval"),
        ("evaluations: [{name: a, kind: drift, role: r}]\ngates: [{metric: m, at_least: 0}, {metric: m, at_least: 1}]",
         "gates.1: gate m: a second at_least for one metric; keep one"),
        ("evaluations: [{name: a, kind: reward, role: r}]\ngates: [{metric: a/x, largest_loss: 1e300}]",
         "gates.0.largest_loss must be a number from 0 to 1,000,000,000 or null"),
    ],
)  # fmt: skip
def test_a_suite_says_nothing_twice_and_nothing_without_effect(write, lines: str, words: str) -> None:
    """One line for each; a loss and a value of one metric are two gates."""
    with pytest.raises(ConfigError) as caught:
        load_suite(str(write(f"name: s\n{lines}\n")), row_kinds())
    assert str(caught.value).endswith(words) or words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    both = "gates: [{metric: a/x, largest_loss: 0.1}, {metric: a/x, at_least: 0.5}]"
    text = f"name: s\nevaluations: [{{name: a, kind: reward, role: r}}]\n{both}\n"
    assert len(load_suite(str(write(text)), row_kinds()).gates) == 2


def test_a_file_of_thousands_of_mistakes_tells_twenty(write) -> None:
    """Fast, and on a screen."""
    path = write(MINIMAL + "".join(f"k{n}: 1\n" for n in range(3000)))
    assert len(error_of(config_file=path).splitlines()) == 20


def test_a_file_of_settings_is_small(write) -> None:
    """A gigabyte that was meant for another option is refused at once."""
    with pytest.raises(UserError, match="larger than 524,288 bytes, which no file of settings is"):
        load_experiment(config_file=write("# " + "x" * 600_000))
