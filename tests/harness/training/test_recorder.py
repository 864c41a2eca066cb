"""What a training run records of the machine is in the units that its log names."""

import resource

from harness.training.recorder import peak_memory_bytes


def test_peak_memory_is_in_bytes() -> None:
    """The process's own peak, which is more than this interpreter alone takes and less than a terabyte."""
    assert peak_memory_bytes("cpu") == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 2**25 < peak_memory_bytes("cpu") < 2**40
