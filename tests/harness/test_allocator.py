"""Memory that glibc keeps for the next large block."""

import subprocess
import sys

import pytest

from harness.allocator import c_library

COUNT_FAULTS = """
import resource
import sys

import torch

from harness.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):  # until the heap is as large as it becomes
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def n_page_faults(kept: str) -> int:
    """Page faults of ten tensors of 64 MiB, one after the other, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, kept], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not c_library().startswith("glibc"), reason="the C library is not glibc")
def test_large_blocks_come_from_memory_that_is_there() -> None:
    """With the parameters a tensor of 64 MiB takes no new pages; without them it takes all of its own."""
    assert n_page_faults("kept") < 100 < n_page_faults("not kept")


@pytest.mark.parametrize("statement", ["", "keep_freed_memory()"])
def test_the_record_says_what_holds(statement: str) -> None:
    """The C library's name, and that large blocks are kept where they are."""
    program = f"from harness.allocator import *\n{statement}\nprint(allocator_record())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    is_kept = bool(statement) and c_library().startswith("glibc")
    assert done.stdout.strip() == str({"library": c_library(), "keeps_large_blocks": is_kept})
