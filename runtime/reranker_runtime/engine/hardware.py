"""What this machine is good at: device, number type, threads, and how much to score at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from reranker_runtime.engine.cpus import usable_cpus
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.settings import Device, Precision

DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
# 1,024 to 4,096 score equally fast on a quiet machine; smaller batches suffer where other processes want the cores,
# larger ones make a small request wait longer for its turn.
CPU_BATCH_TOKENS: Final = 2048
GPU_BATCH_TOKENS: Final = 32768


@dataclass(frozen=True)
class Hardware:
    """Where scoring runs and in which number type."""

    device: torch.device
    dtype: torch.dtype
    batch_tokens: int

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"


def choose(device: Device, precision: Precision, batch_tokens: int | None) -> Hardware:
    """Resolve auto; a GPU that was asked for and is not there is refused rather than replaced by a slow CPU."""
    available = torch.cuda.is_available()
    if device is Device.CUDA and not available:
        raise ModelError(
            Reason.DEVICE_UNAVAILABLE,
            "RERANKER_DEVICE=cuda, but torch finds no GPU here; request nvidia.com/gpu for the pod, or use cpu",
        )
    on_gpu = available and device is not Device.CPU
    if precision is Precision.AUTO:
        if on_gpu:
            precision = Precision.BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FP16
        else:
            precision = Precision.BF16 if _cpu_has_bf16() else Precision.FP32
    if not on_gpu:
        limit_threads()
    return Hardware(
        device=torch.device("cuda" if on_gpu else "cpu"),
        dtype=DTYPES[precision],
        batch_tokens=batch_tokens or (GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS),
    )


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def limit_threads() -> None:
    """One torch thread per CPU that the container may use; torch itself counts the node's cores."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())
