"""Lets glibc keep the memory of large blocks for the next one, instead of mapping and unmapping each.

A CPU kernel of torch takes its results from malloc, and glibc maps every block above 32 MiB anew: the system clears its
pages at the first touch, again and again. A model with a large vocabulary spends half of its time there.
"""

import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of mallopt, as in malloc.h."""
KEPT_BYTES = 2**31 - 1
"""Free memory at the top of the heap above which glibc gives it back; the largest number that mallopt takes."""
PAD_BYTES = 256 * 2**20
"""What the heap grows by at least."""

_is_kept = False


def keep_freed_memory() -> bool:
    """Sets glibc's parameters for this process and returns whether they hold; without glibc it does nothing."""
    global _is_kept  # noqa: PLW0603 - as the parameters of the C library are
    if c_library().startswith("glibc"):
        import ctypes

        set_parameter = ctypes.CDLL(None).mallopt
        parameters = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, PAD_BYTES))
        results = [set_parameter(parameter, value) for parameter, value in parameters]
        _is_kept = all(results)
    return _is_kept


def allocator_record() -> dict[str, object]:
    """Returns the C library and whether freed memory is kept, in types that JSON has."""
    return {"library": c_library(), "keeps_large_blocks": _is_kept}


def c_library() -> str:
    """Returns name and version of the C library; empty where the system does not say."""
    names = getattr(os, "confstr_names", {})
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in names else ""
