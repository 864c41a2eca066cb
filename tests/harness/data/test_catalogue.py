"""Tests of the table of datasets: names, configurations, readings, and agreement with presets and local data."""

import pkgutil
from importlib import import_module

import pytest

from harness.commands.listings import datasets
from harness.config.load import load_experiment, preset_names
from harness.config.strict_yaml import read_yaml_mapping
from harness.data import sources
from harness.data.catalogue import CATALOGUE, find_entry
from harness.data.read import is_file
from harness.data.row import DataError


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("Anthropic/hh-rlhf", "Anthropic/hh-rlhf"),
        ("Anthropic/hh-rlhf:helpful-base", "Anthropic/hh-rlhf"),
        ("allenai/winogrande:winogrande_xs", "allenai/winogrande"),
        ("truthfulqa/truthful_qa:generation", "truthfulqa/truthful_qa:generation"),
        ("embedded/preferences", "embedded/preferences"),
        ("PKU-Alignment/PKU-SafeRLHF", "PKU-Alignment/PKU-SafeRLHF"),
        ("PKU-Alignment/PKU-SafeRLHF#better", "PKU-Alignment/PKU-SafeRLHF#better"),
        ("PKU-Alignment/PKU-SafeRLHF:alpaca-7b#better", "PKU-Alignment/PKU-SafeRLHF#better"),
        ("openai/summarize_from_feedback:comparisons", "openai/summarize_from_feedback:comparisons"),
        ("Hello-SimpleAI/HC3:wiki_csai", "Hello-SimpleAI/HC3"),
    ],
)
def test_names_with_and_without_configuration(name, entry):
    """A configuration after the colon and a reading after the # lead to the entry of their dataset, or to their own."""
    assert find_entry(name).name == entry


@pytest.mark.parametrize("name", ["Antropic/hh-rlhf", "nothing", "Anthropic/hh"])
def test_names_that_are_not_listed_have_no_entry(name):
    """What is not listed may still be on the hub."""
    assert find_entry(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truthfulqa/truthful_qa", "did you mean truthfulqa/truthful_qa:"),
        ("embedded/preference", "there is no dataset embedded/preference (did you mean embedded/preferences?)"),
        ("embedded/preferences:x", "there is no dataset embedded/preferences:x"),
        ("allenai/winogrande", "known are: allenai/winogrande:winogrande_xl"),
        ("Anthropic/hh-rlhf:red-team", "known are: Anthropic/hh-rlhf, Anthropic/hh-rlhf:helpful-base"),
        ("PKU-Alignment/PKU-SafeRLHF#bettr", "did you mean PKU-Alignment/PKU-SafeRLHF#better?"),
    ],
)
def test_unknown_names_list_known_ones(name, words):
    """One line with what there is."""
    with pytest.raises(DataError) as caught:
        find_entry(name)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_preset_names_known_datasets():
    """What ships with the project can be looked up, or says what its columns hold."""
    for preset in preset_names():
        data = load_experiment(preset).data
        for dataset in (data.training, *data.roles.values()):
            assert find_entry(dataset.name) or dataset.columns or is_file(dataset.name)


def test_every_family_is_in_the_catalogue():
    """A file of `sources/` whose datasets nobody can name would be dead code."""
    families = {module.name for module in pkgutil.iter_modules(sources.__path__)} - {"entry"}
    listed = {entry.name for name in families for entry in import_module(f"{sources.__name__}.{name}").DATASETS}
    assert listed == set(CATALOGUE)


def test_what_entries_offer():
    """Each entry has exactly one adapter, and offers what can be made of its rows."""
    for entry in CATALOGUE.values():
        adapters = (entry.pair, entry.rated, entry.example, entry.question)
        assert sum(adapter is not None for adapter in adapters) == 1
    assert find_entry("embedded/safety").offers == ("pairs", "rated answers", "examples", "questions")
    assert find_entry("trl-lib/kto-mix-14k").offers == ("rated answers", "examples", "questions")
    assert find_entry("embedded/coreference").offers == ("examples", "questions")
    assert find_entry("embedded/prompts").offers == ("questions",)


def test_the_list_has_a_line_for_every_dataset():
    """Name, offers, splits, group, columns and licence of each."""
    lines = {line.split()[0]: line for line in datasets().splitlines() if line.strip()}
    assert set(CATALOGUE) <= set(lines)
    line = lines["HuggingFaceH4/ultrafeedback_binarized"]
    assert "pairs, rated answers, examples, questions" in line
    assert "train_prefs / test_prefs" in line
    assert line.endswith("MIT")
    assert "system, question, chosen, rejected" in lines["Intel/orca_dpo_pairs"]


def test_the_real_index_holds_the_real_datasets(real_data):
    """Names of the catalogue are those of the local data, wherever it has them."""
    held = {name.partition(":")[0] for name in read_yaml_mapping(real_data / "datasets.yaml")}
    known = {name.partition(":")[0].partition("#")[0] for name in CATALOGUE if not name.startswith("embedded/")}
    assert known - held == {
        "trl-lib/ultrafeedback_binarized",
        "shionhonda/reviewer2-1k-paired",
        "shionhonda/reviewer2-2k-unpaired",
        "eli5",
    }
