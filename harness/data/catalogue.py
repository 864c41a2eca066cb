"""The one table of datasets that rows can be taken from: `harness list datasets` prints it."""

from harness.config.wording import did_you_mean
from harness.data.read import EMBEDDED_PREFIX
from harness.data.row import DataError
from harness.data.sources import (
    eli5,
    hc3,
    hh_rlhf,
    neutral,
    orca,
    pku,
    preferences,
    prompts,
    summaries,
    truthfulqa,
    ultrafeedback,
    webgpt,
    winogrande,
)
from harness.data.sources.entry import DatasetEntry

_SAFETY_COLUMNS = ("prompt", "response_0", "response_1", "safer_response_id")
_SAFETY_CONFIGURATIONS = ("", "default", "alpaca-7b", "alpaca2-7b", "alpaca3-8b")
_CONVERSATION_COLUMNS = ("chosen", "rejected", "score_chosen (if there)", "score_rejected (if there)")
_PAIR_COLUMNS = ("prompt", "chosen", "rejected")
_RATED_COLUMNS = ("prompt", "completion", "label")
_FORUM_COLUMNS = ("title", "selftext", "answers")
_GENERATION_COLUMNS = ("question", "best_answer", "incorrect_answers")
_MULTIPLE_CHOICE_COLUMNS = ("question", "mc1_targets")
_CLOZE_COLUMNS = ("sentence", "option1", "option2", "answer", "qID (if there)")
_OWN = "Apache-2.0 (this project)"

_ENTRIES = (
    DatasetEntry(
        name="embedded/preferences",
        columns=("prompt", "chosen", "rejected", "source", "group"),
        licence=_OWN,
        group="template",
        pair=preferences.pair,
    ),
    DatasetEntry(
        name="embedded/truthfulness:generation",
        columns=_GENERATION_COLUMNS,
        licence=_OWN,
        group="question",
        example=truthfulqa.example_of_generation,
    ),
    DatasetEntry(
        name="embedded/truthfulness:multiple_choice",
        columns=_MULTIPLE_CHOICE_COLUMNS,
        licence=_OWN,
        group="question",
        example=truthfulqa.example_of_multiple_choice,
    ),
    DatasetEntry(
        name="embedded/coreference",
        columns=_CLOZE_COLUMNS,
        licence=_OWN,
        group="twin",
        example=winogrande.example,
        overlap_query=winogrande.overlap_query,
    ),
    DatasetEntry(
        name="embedded/safety",
        columns=_SAFETY_COLUMNS,
        licence=_OWN,
        group="prompt",
        pair=pku.pair_of_safe_rlhf,
    ),
    DatasetEntry(
        name="embedded/prompts",
        columns=("prompt", "kind"),
        licence=_OWN,
        group="prompt",
        question=prompts.question,
    ),
    DatasetEntry(
        name="embedded/neutral",
        columns=("prompt", "response"),
        licence=_OWN,
        group="passage",
        example=neutral.example,
    ),
    DatasetEntry(
        name="truthfulqa/truthful_qa:generation",
        columns=_GENERATION_COLUMNS,
        licence="Apache-2.0",
        group="question",
        example=truthfulqa.example_of_generation,
    ),
    DatasetEntry(
        name="truthfulqa/truthful_qa:multiple_choice",
        columns=_MULTIPLE_CHOICE_COLUMNS,
        licence="Apache-2.0",
        group="question",
        example=truthfulqa.example_of_multiple_choice,
    ),
    DatasetEntry(
        name="allenai/winogrande",
        columns=_CLOZE_COLUMNS,
        licence="CC-BY",
        group="twin",
        example=winogrande.example,
        overlap_query=winogrande.overlap_query,
        configurations=(
            "winogrande_xl",
            "winogrande_l",
            "winogrande_m",
            "winogrande_s",
            "winogrande_xs",
            "winogrande_debiased",
        ),
        measuring_splits=("validation",),  # the test split has no answers
    ),
    DatasetEntry(
        name="PKU-Alignment/processed-hh-rlhf",
        columns=("context", "chosen", "rejected"),
        licence="MIT",
        group="first human turn",
        pair=pku.pair_of_processed_hh,
        configurations=("", "helpful-base", "harmless-base", "helpful-online", "helpful-rejection-sampled"),
        folder_configurations=True,
    ),
    DatasetEntry(
        name="PKU-Alignment/PKU-SafeRLHF",
        columns=_SAFETY_COLUMNS,
        licence="CC-BY-NC-4.0",
        group="prompt",
        pair=pku.pair_of_safe_rlhf,
        configurations=_SAFETY_CONFIGURATIONS,
    ),
    DatasetEntry(
        name="PKU-Alignment/PKU-SafeRLHF#better",
        columns=("prompt", "response_0", "response_1", "better_response_id"),
        licence="CC-BY-NC-4.0",
        group="prompt",
        pair=pku.better_pair_of_safe_rlhf,
        configurations=_SAFETY_CONFIGURATIONS,
    ),
    DatasetEntry(
        name="Anthropic/hh-rlhf",
        columns=("chosen", "rejected"),
        licence="MIT",
        group="first human turn",
        pair=hh_rlhf.pair,
        configurations=("", "helpful-base", "harmless-base", "helpful-online", "helpful-rejection-sampled"),
        folder_configurations=True,
    ),
    DatasetEntry(
        name="HuggingFaceH4/ultrafeedback_binarized",
        columns=_CONVERSATION_COLUMNS,
        licence="MIT",
        group="prompt",
        pair=ultrafeedback.pair,
        training_splits=("train_prefs",),
        measuring_splits=("test_prefs",),
    ),
    DatasetEntry(
        name="trl-lib/ultrafeedback_binarized",
        columns=_CONVERSATION_COLUMNS,
        licence="MIT",
        group="prompt",
        pair=ultrafeedback.pair,
    ),
    DatasetEntry(
        name="llamafactory/dpo_en_demo",
        columns=_PAIR_COLUMNS,
        licence="Apache-2.0",
        group="first user turn",
        pair=preferences.pair,
    ),
    DatasetEntry(
        name="Intel/orca_dpo_pairs",
        columns=("system", "question", "chosen", "rejected"),
        licence="Apache-2.0",
        group="question",
        pair=orca.pair,
    ),
    DatasetEntry(
        name="shionhonda/reviewer2-1k-paired",
        columns=_PAIR_COLUMNS,
        licence="not stated",
        group="column group (if there), else prompt",
        pair=preferences.pair,
    ),
    DatasetEntry(
        name="shionhonda/reviewer2-2k-unpaired",
        columns=_RATED_COLUMNS,
        licence="not stated",
        group="column group (if there), else prompt",
        rated=preferences.rated_answer,
    ),
    DatasetEntry(
        name="trl-lib/kto-mix-14k",
        columns=_RATED_COLUMNS,
        licence="not stated",
        group="first user turn",
        rated=preferences.rated_answer,
    ),
    DatasetEntry(
        name="openai/webgpt_comparisons",
        columns=("question", "answer_0", "answer_1", "score_0", "score_1"),
        licence="not stated",
        group="question",
        pair=webgpt.pair,
    ),
    DatasetEntry(
        name="openai/summarize_from_feedback:comparisons",
        columns=("info", "summaries", "choice"),
        licence="modified MIT; posts CC-BY-4.0",
        group="post or article",
        pair=summaries.pair,
    ),
    DatasetEntry(
        name="eli5_category",
        columns=_FORUM_COLUMNS,
        licence="not known (Reddit)",
        group="question",
        pair=eli5.pair,
        measuring_splits=("test", "validation1", "validation2"),
    ),
    DatasetEntry(
        name="eli5",
        columns=_FORUM_COLUMNS,
        licence="not known (Reddit)",
        group="question",
        pair=eli5.pair,
        training_splits=("train_eli5",),
        measuring_splits=("test_eli5", "validation_eli5"),
    ),
    DatasetEntry(
        name="Hello-SimpleAI/HC3",
        columns=("question", "human_answers", "chatgpt_answers"),
        licence="CC-BY-SA-4.0",
        group="question",
        pair=hc3.pair,
        configurations=("all", "reddit_eli5", "finance", "medicine", "open_qa", "wiki_csai"),
    ),
)
CATALOGUE: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str) -> DatasetEntry | None:
    """The entry of a dataset as a configuration names it: hub id, :configuration, #reading; None if it is not listed.

    Raises:
        DataError: a listed dataset has no such configuration or reading; lists those there are.
    """
    if name in CATALOGUE and "" in CATALOGUE[name].configurations:
        return CATALOGUE[name]
    rows, hash_sign, reading = name.partition("#")
    base, _, configuration = rows.partition(":")
    entry = CATALOGUE.get(f"{base}{hash_sign}{reading}")
    if entry is not None and configuration in entry.configurations:
        return entry
    known = [known for entry in CATALOGUE.values() for known in _names_of(entry) if _hub_id(known) == base]
    if known or base.startswith(EMBEDDED_PREFIX):
        listed = ", ".join(known or CATALOGUE)
        raise DataError(f"there is no dataset {name}{did_you_mean(name, known or CATALOGUE)}; known are: {listed}")
    return None


def _names_of(entry: DatasetEntry) -> tuple[str, ...]:
    """The entry's name, with each of its configurations."""
    rows, hash_sign, reading = entry.name.partition("#")
    return tuple(
        f"{rows}{':' if configuration else ''}{configuration}{hash_sign}{reading}"
        for configuration in entry.configurations
    )


def _hub_id(name: str) -> str:
    return name.partition("#")[0].partition(":")[0]
