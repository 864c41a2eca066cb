"""lm-eval's index of tasks, groups and tags."""

from pathlib import Path

import pytest

from suites.lm_eval.index import UnknownTaskError, entries, entry_or_none, find_entry, library


def test_tasks_are_found_by_name_in_own_folders_before_those_of_lm_eval(tmp_path: Path) -> None:
    """Also where the file is not called like the task."""
    own = tmp_path / "mine.yaml"
    own.write_text("task: winogrande\n")

    assert find_entry("winogrande", []).yaml_path.name == "default.yaml"
    assert find_entry("truthfulqa_mc2", []).yaml_path.name == "truthfulqa_mc2.yaml"
    assert own == find_entry("winogrande", [tmp_path]).yaml_path


def test_names_in_quotes_groups_and_tags_are_found() -> None:
    """Thousands of lm-eval's files write key and name in quotes; a tag has tasks, and no file."""
    assert find_entry("mmlu_abstract_algebra", []).yaml_path.name == "mmlu_abstract_algebra.yaml"
    assert find_entry("mmlu_stem", []).kind.name == "GROUP"
    tag = find_entry("ai2_arc", [])
    assert (tag.kind.name, tag.yaml_path) == ("TAG", None)
    assert {"arc_easy", "arc_challenge"} <= tag.tags


def test_unknown_tasks_are_named_with_what_is_spelled_alike() -> None:
    """The nearest names; a long one is cut, and one that is a path looks in no other folder."""
    with pytest.raises(UnknownTaskError, match=r"truthfulqa_mc3.*did you mean truthfulqa_mc"):
        find_entry("truthfulqa_mc3", [])
    with pytest.raises(UnknownTaskError) as caught:
        find_entry("../" * 5000, [])
    assert len(str(caught.value)) < 400


@pytest.mark.slow
def test_the_index_is_that_of_lm_eval() -> None:
    """Every name of lm-eval's own index is found in the same file, of the same kind, with the same tasks."""
    from lm_eval.tasks._index import TaskIndex

    theirs = TaskIndex.build([library()])
    assert entries(library()).keys() == theirs.keys()
    for name, entry in theirs.items():
        own = entry_or_none(name, [])
        assert (own.name, own.kind, own.yaml_path, own.tags) == (entry.name, entry.kind, entry.yaml_path, entry.tags)
