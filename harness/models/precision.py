"""Choose the floating-point type that matrix products are computed in, and time how fast a type is on this device.

"auto" follows from the device's instructions, never from a timing: the keys of fixtures and scores must not change
because the machine was busy.
"""

import os
from collections.abc import Mapping
from time import perf_counter

_ONEDNN_SWITCHES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_ONEDNN_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of oneDNN's switch that forbid bfloat16 instructions
(https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html)."""
_ATEN_SWITCH = "ATEN_CPU_CAPABILITY"
_ATEN_WITHOUT_BFLOAT16 = ("DEFAULT", "AVX2")
_DEVICE_NAMES = {"cpu": "CPU", "cuda": "GPU", "mps": "GPU"}
_PRODUCT_SHAPE = (256, 512, 512)
"""Rows, inner size and columns of the timed product: a hidden state times a matrix of a small model."""
NOTABLY_SLOWER = 2.0
"""A type counts as slow where a product takes at least this many times as long as in float32."""


def choose_dtype(requested: str, device: str) -> str:
    """Return the requested type; "auto" is float32 on a CPU, else bfloat16, float16 on a GPU without it."""
    if requested != "auto":
        return requested
    return "float32" if device == "cpu" else _half_precision_of_gpu(device)


def choose_compute_dtype(requested: str, device: str) -> str:
    """Return the type that 4-bit layers compute in; "auto" is one that the device multiplies fast.

    That is bfloat16 on a GPU that has it and on a CPU with AVX512-BF16, AMX or ARM's bfloat16; else float16 on a GPU
    and float32 on a CPU, where a product in emulated bfloat16 takes 10 to 150 times as long as in float32.
    """
    if requested != "auto":
        return requested
    if device != "cpu":
        return _half_precision_of_gpu(device)
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware and torch may use that.

    ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY can restrict torch to the instructions of an older CPU.
    """
    import torch

    if any(environment.get(name, "").strip().upper() in _ONEDNN_WITHOUT_BFLOAT16 for name in _ONEDNN_SWITCHES):
        return False
    if environment.get(_ATEN_SWITCH, "").strip().upper() in _ATEN_WITHOUT_BFLOAT16:
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call] # a Mac's library is fp32 alone
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def why_compute_dtype(requested: str, device: str) -> str:
    """Return one sentence that says which type 4-bit layers compute in, and why."""
    dtype = choose_compute_dtype(requested, device)
    if requested != "auto":
        why = "as model.compute_dtype says"
    elif dtype == "bfloat16":
        why = f"which this {_DEVICE_NAMES[device]} multiplies in hardware"
    else:
        why = f"since bfloat16 is not multiplied in hardware on this {_DEVICE_NAMES[device]} as it is set up"
    return f"4-bit layers compute in {dtype}, {why}."


def slowdown(dtype: str, device: str) -> float:
    """Time a matrix product and return how many times as long it takes as in float32.

    Use it for messages only, because it depends on the load of the machine.
    """
    return 1.0 if dtype == "float32" else _product_seconds(dtype, device) / _product_seconds("float32", device)


def advice_on(key: str, dtype: str, device: str) -> str:
    """Time products in a type, and return a message where they are slow on this device, else an empty text.

    Args:
        key: setting of the model section that chose the type: "dtype" or "compute_dtype".
        dtype: the type to time.
        device: "cpu", "cuda" or "mps".
    """
    factor = slowdown(dtype, device)
    if factor < NOTABLY_SLOWER:
        return ""
    return (
        f"{dtype} is slow on this {_DEVICE_NAMES[device]}: a product takes {factor:.0f} times as long as in float32; "
        f"-o model.{key}=auto chooses a fast type"
    )


def _product_seconds(dtype: str, device: str) -> float:
    """Return the shortest of five timings after a warm-up, in seconds.

    One thread computes, because a second one would wait wherever its core is busy.
    """
    import torch

    n_rows, n_inner, n_columns = _PRODUCT_SHAPE
    kind = getattr(torch, dtype)
    left, right = (torch.ones(shape, dtype=kind).to(device) for shape in ((n_rows, n_inner), (n_inner, n_columns)))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    try:
        with torch.inference_mode():
            for _ in range(6):
                started = perf_counter()
                (left @ right)[0, 0].item()  # waits for a GPU
                seconds.append(perf_counter() - started)
    finally:
        torch.set_num_threads(n_threads)
    return min(seconds[1:])


def _half_precision_of_gpu(device: str) -> str:
    import torch

    return "bfloat16" if device == "mps" or torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
