"""What is asked of a cluster, and whether it fits."""

from dataclasses import replace

import pytest

from harness.measuring.cluster.request import (
    DoesNotFitError,
    Needs,
    Node,
    Request,
    RequestError,
    address_of,
    check_fits,
    check_gpus,
    check_ranks_fit,
    host_and_port,
    lack_of,
    n_at_a_time,
    needs_of,
    room_line,
)

CPUS = Node("a", "1", 4, 0)
GPUS = Node("b", "2", 16, 2)


@pytest.mark.parametrize(
    ("typed", "environment", "address"),
    [
        (None, {}, "local"),
        (None, {"RAY_ADDRESS": " "}, "local"),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "10.0.0.1:6379"),
        ("node-7.cluster:1", {"RAY_ADDRESS": "10.0.0.1:6379"}, "node-7.cluster:1"),
        ("[::1]:6379", {}, "[::1]:6379"),
        (None, {"RAY_ADDRESS": "auto"}, "auto"),
    ],
)
def test_the_address_is_the_typed_one_then_that_of_the_environment(
    typed: str | None, environment: dict[str, str], address: str
) -> None:
    """Without either it is this machine alone, never a cluster that Ray finds in a temporary folder."""
    assert address_of(Request(typed), environment) == address


@pytest.mark.parametrize("typed", ["", "host", "host:", ":6379", "host:0", "host:65536", "ray://host:10001", "a b:1"])
def test_what_is_no_address_is_told(typed: str) -> None:
    """By the name of what was typed, with an example."""
    with pytest.raises(RequestError, match=r"^--address: must be HOST:PORT .* such as 10\.0\.0\.1:6379"):
        address_of(Request(typed), {})
    if typed:
        with pytest.raises(RequestError, match=r"^RAY_ADDRESS: must be"):
            address_of(Request(), {"RAY_ADDRESS": typed})


def test_the_parts_of_an_address() -> None:
    """Brackets belong to no host; Ray's own words have no parts."""
    assert host_and_port("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("auto") is None
    assert host_and_port("local") is None


@pytest.mark.parametrize("n_gpus", [None, 0.0, 0.25, 0.5, 0.01, 1.0, 8.0])
def test_shares_and_whole_numbers_of_gpus_are_taken(n_gpus: float | None) -> None:
    """As Ray lends them."""
    check_gpus(n_gpus)


@pytest.mark.parametrize("n_gpus", [-1.0, 1.5, 0.001, float("nan"), float("inf"), 1e9])
def test_other_numbers_of_gpus_are_told(n_gpus: float) -> None:
    """In one line that names the option."""
    with pytest.raises(RequestError, match=r"^--gpus-per-unit: must be a whole number, or a share"):
        check_gpus(n_gpus)


@pytest.mark.parametrize(
    ("request_", "device", "n_threads", "n_gpus", "needs"),
    [
        (Request(), "cpu", 3, 1, Needs(3, 0)),
        (Request(), "cuda", 8, 1, Needs(1, 1)),
        (Request(), "cuda", 8, 2, Needs(1, 2)),
        (Request(gpus_per_unit=0.5), "cuda", 8, 1, Needs(1, 0.5)),
        (Request(gpus_per_unit=0), "cpu", 2, 1, Needs(2, 0)),
        (Request(), "mps", 8, 1, Needs(1, 0)),
    ],
)
def test_a_unit_needs_what_the_driver_computes_on(
    request_: Request, device: str, n_threads: int, n_gpus: int, needs: Needs
) -> None:
    """A GPU, or a CPU for every thread; the option says otherwise."""
    assert needs_of(request_, device, n_threads, n_gpus) == needs


@pytest.mark.parametrize(
    ("needs", "number"),
    [
        (Needs(), 20),
        (Needs(3), 6),
        (Needs(5), 3),
        (Needs(1, 1), 2),
        (Needs(1, 2), 1),
        (Needs(1, 3), 0),
        (Needs(1, 0.5), 4),
        (Needs(1, 0.4), 4),
        (Needs(1, 0.1), 16),
        (Needs(16, 0.5), 1),
        (Needs(17), 0),
    ],
)
def test_units_that_fit_at_a_time(needs: Needs, number: int) -> None:
    """On each node by itself, and shares on each GPU by itself."""
    assert n_at_a_time([CPUS, GPUS], needs) == number


def test_what_fits_on_no_node_is_told_with_what_there_is() -> None:
    """Before it is submitted, since it would wait for ever; the advice is on what is short."""
    check_fits([CPUS, GPUS], Needs(1, 2), Request())
    with pytest.raises(DoesNotFitError) as error:
        check_fits([CPUS], Needs(1, 1), Request(gpus_per_unit=1))
    assert str(error.value).startswith(
        "--gpus-per-unit 1: a unit needs 1 CPU and 1 GPU, which no node has: a has 4 CPUs and 0 GPUs; ask for fewer"
    )
    with pytest.raises(DoesNotFitError, match=r"^a unit needs 5 CPUs, .*; HARNESS_THREADS sets"):
        check_fits([CPUS], Needs(5), Request())
    with pytest.raises(DoesNotFitError, match="none of its nodes is left; the same command"):
        check_fits([], Needs(), Request())
    with pytest.raises(DoesNotFitError, match="a has 4 CPUs and 0 GPUs, 3 more; "):
        check_fits([CPUS] * 9, Needs(1, 1), Request())


def test_what_is_missing_in_the_middle_is_a_clause() -> None:
    """Empty where units fit, however many wait for their turn."""
    assert lack_of([CPUS], Needs(4)) == ""
    assert lack_of([CPUS], Needs(1, 1)) == ("a unit needs 1 CPU and 1 GPU, which no node has: a has 4 CPUs and 0 GPUs")


def test_the_line_says_where_and_how_many_at_a_time() -> None:
    """At most as many as were asked for."""
    line = "Ray: 4 units at a time, each with 1 CPU; a has 4 CPUs and 0 GPUs."
    assert room_line([CPUS], Needs(), Request()) == line
    assert room_line([CPUS], Needs(), Request(workers=9)) == line
    assert room_line([CPUS], Needs(), Request(workers=1)).startswith("Ray: 1 unit at a time")
    assert "2 units at a time, each with 2 CPUs (more with fewer threads" in room_line([CPUS], Needs(2), Request())


def test_gpus_that_no_unit_uses_are_told_of() -> None:
    """A command computes as the machine does that it was started on."""
    idle = room_line([replace(CPUS, n_gpus=4)], Needs(), Request())
    used = room_line([replace(CPUS, n_gpus=4)], Needs(1, 1), Request())

    line = "No GPU is used, because the base is on a CPU here: start the command on a node that has one."
    assert idle.endswith(f"a has 4 CPUs and 4 GPUs. {line}")
    assert used.endswith("a has 4 CPUs and 4 GPUs.")


def test_processes_of_one_adapter_may_be_on_several_nodes() -> None:
    """Each has a whole GPU, whatever a unit's share is; more of them than there is room for are refused at once."""
    rank = Needs(1, 0.5).of_rank
    assert (rank, Needs(2).of_rank) == (Needs(1, 1.0), Needs(2))
    check_ranks_fit([GPUS, GPUS], rank, Request(gpus_per_adapter=4))
    check_ranks_fit([CPUS], rank, Request())
    with pytest.raises(DoesNotFitError, match=r"^--gpus-per-adapter 3: 3 processes need 1 CPU and 1 GPU each"):
        check_ranks_fit([GPUS], rank, Request(gpus_per_adapter=3))
    check_ranks_fit([GPUS, GPUS], rank, Request(), n_gpus_of_base=2)
    with pytest.raises(DoesNotFitError, match=r"^--gpus-per-adapter 4: the base is spread over 2 GPUs"):
        check_ranks_fit([GPUS, GPUS], rank, Request(gpus_per_adapter=4), n_gpus_of_base=2)
