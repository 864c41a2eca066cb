"""Tests of splits, samples and blocks: whole groups, no dependence on order, the share asked for."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.data.splits import blocks_by_prompt, position_of, sample_by_group, share_of_groups
from suites.inputs import Example, Turn


def rows_of(groups):
    """One row for each mention of a group."""
    return [Example(f"{n}", group, (Turn("user", "q"),), "a") for n, group in enumerate(groups)]


groups_strategy = st.lists(st.sampled_from("abcdefghij"), min_size=1)


@given(groups_strategy, st.integers(1, 30), st.integers(0, 5), st.randoms())
def test_a_sample_is_whole_groups_whatever_the_order(groups, limit, seed, random):
    """Groups are complete, at most `limit` rows unless one group has more, and shuffling changes nothing."""
    rows = rows_of(groups)
    sample = sample_by_group(rows, limit, seed)
    sizes, taken = Counter(groups), Counter(row.group for row in sample)
    assert all(taken[group] == sizes[group] for group in taken)
    assert len(sample) <= limit or len(taken) == 1
    assert sample
    shuffled = random.sample(rows, len(rows))
    assert set(sample_by_group(shuffled, limit, seed)) == set(sample)
    assert [row for row in rows if row in sample] == list(sample)


def test_no_limit_and_a_large_one_take_all():
    """Nothing is lost without need."""
    rows = rows_of("aabbc")
    assert sample_by_group(rows, None, 1) == sample_by_group(rows, 5, 1) == tuple(rows)


def test_a_larger_sample_holds_the_smaller_one():
    """Samples of one seed are nested, so that raising a limit only adds rows; another seed is another sample."""
    rows = rows_of([str(n) for n in range(200)])
    small, large = (set(sample_by_group(rows, limit, 3)) for limit in (20, 50))
    assert (len(small), len(large)) == (20, 50)
    assert small < large
    assert small != set(sample_by_group(rows, 20, 4))


def test_positions_are_uniform_and_independent():
    """Over many groups deciles are equally full, and two purposes or seeds do not go together."""
    groups = [str(n) for n in range(5000)]
    report = [position_of(group, 1, "report") for group in groups]
    deciles = Counter(int(10 * position) for position in report)
    assert set(deciles) == set(range(10))
    assert all(abs(count - 500) < 5 * 450**0.5 for count in deciles.values())  # 5 standard deviations of a binomial
    for others in ([position_of(g, 1, "selection") for g in groups], [position_of(g, 2, "report") for g in groups]):
        both = sum(a < 0.3 and b < 0.3 for a, b in zip(report, others, strict=True))
        assert abs(both - 450) < 5 * (5000 * 0.09 * 0.91) ** 0.5


@given(st.sets(st.text(), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_share_leaves_and_takes_at_least_one_group(groups, fraction, seed):
    """Neither side is empty, and the order of groups does not matter."""
    taken = share_of_groups(groups, fraction, seed, "p")
    assert 1 <= len(taken) < len(groups)
    assert taken == share_of_groups(sorted(groups, reverse=True), fraction, seed, "p")


def test_the_share_is_about_the_fraction():
    """Of a thousand groups about a tenth, and a larger fraction takes the same ones and more."""
    groups = [str(n) for n in range(1000)]
    tenth, third = (share_of_groups(groups, fraction, 7, "p") for fraction in (0.1, 0.3))
    assert abs(len(tenth) - 100) < 50
    assert tenth < third


def test_a_single_group_is_not_taken():
    """One group cannot be divided: the share is empty."""
    assert share_of_groups(["a"], 0.5, 1, "p") == frozenset()


@given(st.lists(st.sampled_from("abcdefghij")), st.integers(1, 4))
def test_blocks_hold_every_row_once_and_all_rows_of_their_prompts(questions, n_prompts):
    """At most so many prompts each, places in their order, prompts in the order in which they come first."""
    rows = [Example(f"{n}", "", (Turn("user", question),), "a") for n, question in enumerate(questions)]
    blocks = blocks_by_prompt(rows, n_prompts)
    asked = [list(dict.fromkeys(questions[place] for place in block)) for block in blocks]
    assert sorted(place for block in blocks for place in block) == list(range(len(rows)))
    assert all(block == sorted(block) for block in blocks)
    assert [question for block in asked for question in block] == list(dict.fromkeys(questions))
    assert all(len(block) == n_prompts for block in asked[:-1])
