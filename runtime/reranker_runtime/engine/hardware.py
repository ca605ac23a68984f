"""What this machine is good at: devices, number type, workers, and how much to score at once within its memory."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from reranker_runtime.engine.cpus import free_memory, usable_cpus
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.models.geometry import ForeignGeometry, Geometry, VisionGeometry
from reranker_runtime.nets.siglip import at_once
from reranker_runtime.settings import Device, Precision, Settings

DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
# Fewer tokens stay in a core's cache and let small requests in sooner, more make better use of wide matrices: measured
# in docs/performance.md.
CPU_BATCH_TOKENS: Final = 1024
GPU_BATCH_TOKENS: Final = 32768
GPU_THREADS: Final = 2
"""For each GPU: while one waits for it, the other prepares the next batch."""
MOST_WORKERS: Final = 16
"""On a CPU, unless asked otherwise: more would wait for Python's lock, so each worker's products use more cores."""
MEMORY_SHARE: Final = 0.7
"""Of free memory that activations may take; the rest is for requests, tokenising and whatever else lives here."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hardware:
    """Where scoring runs, in which number type, and in how many workers."""

    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    batch_tokens: int
    workers: int
    """Threads that score; on GPUs several share one device."""
    threads: int
    """Cores that each worker's matrix products use, on a CPU."""

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.devices[0]) if self.on_gpu else "cpu"

    @property
    def on_gpu(self) -> bool:
        return self.devices[0].type == "cuda"


def choose(settings: Settings) -> Hardware:
    """Resolve auto; a GPU that was asked for and is not there is refused rather than replaced by a slow CPU."""
    available = torch.cuda.is_available()
    if settings.device is Device.CUDA and not available:
        raise ModelError(
            Reason.DEVICE_UNAVAILABLE,
            "RERANKER_DEVICE=cuda, but torch finds no GPU here; request nvidia.com/gpu for the pod, or use cpu",
        )
    on_gpu = available and settings.device is not Device.CPU
    precision = settings.precision
    if precision is Precision.AUTO:
        if on_gpu:
            precision = Precision.BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FP16
        else:
            precision = Precision.BF16 if _cpu_has_bf16() else Precision.FP32
    if on_gpu:
        # torch would prefer cuDNN on some GPUs, which plans anew for each shape of batch, and no two batches are alike.
        torch.backends.cuda.enable_cudnn_sdp(False)
        devices = tuple(torch.device("cuda", n) for n in range(torch.cuda.device_count()))
        workers = settings.workers or GPU_THREADS * len(devices)
        return Hardware(devices, DTYPES[precision], settings.batch_tokens or GPU_BATCH_TOKENS, workers, 1)
    cpus = usable_cpus()
    # One matrix split over cores leaves most of them waiting: each core gets batches of its own.
    workers = min(settings.workers or MOST_WORKERS, cpus)
    threads = max(1, cpus // workers)
    if "OMP_NUM_THREADS" not in os.environ:  # torch itself counts the node's cores
        torch.set_num_threads(threads)
    budget = settings.batch_tokens or CPU_BATCH_TOKENS * threads
    return Hardware((torch.device("cpu"),), DTYPES[precision], budget, workers, threads)


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def fit(hardware: Hardware, blueprint: Blueprint, limit: int) -> Hardware:
    """The same with a smaller budget, and then fewer workers, where the longest rows would not fit beside each other.

    Called after the weights were loaded. 512 passages at the model's full length are then slow, not fatal.
    """
    on_gpus = [torch.cuda.mem_get_info(device)[0] for device in hardware.devices if hardware.on_gpu]
    free = min(on_gpus) if on_gpus else free_memory()
    each = row_bytes(blueprint.design.body.geometry, limit, hardware.dtype)
    if blueprint.design.vision is not None:
        each += vision_bytes(blueprint.design.vision, hardware.devices[0], hardware.dtype)
    tokens = int(free * MEMORY_SHARE) * limit // each
    if tokens < limit:
        log.warning(
            "%d MiB of memory are free, and one sequence of %d tokens takes about %d MiB: if the longest fail, lower "
            "NIM_PIPELINE_MAX_SEQ_LEN or give the container more memory", free >> 20, limit, each >> 20,
        )  # fmt: skip
    shared = -(-hardware.workers // len(hardware.devices))
    budget = max(1, min(hardware.batch_tokens, tokens // shared))
    workers = hardware.workers
    if budget < limit:  # a row goes alone, however long: fewer at a time
        workers = min(workers, max(1, min(shared, tokens // limit)) * len(hardware.devices))
    return replace(hardware, batch_tokens=budget, workers=workers)


def vision_bytes(vision: VisionGeometry, device: torch.device, dtype: torch.dtype) -> int:
    """Memory that seeing takes at its peak, beside the weights, however many images a batch has."""
    patches = max(at_once(device), vision.patches)
    layers = patches * (12 * vision.hidden + 2 * vision.feed_forward) * dtype.itemsize
    pixels = patches * 3 * vision.patch**2 * (1 + 4 + 2 + dtype.itemsize)  # in the number types that they pass through
    return layers + pixels


def row_bytes(geometry: Geometry, tokens: int, dtype: torch.dtype) -> int:
    """Memory that scoring so many tokens takes at its peak, beside the weights: an estimate from above."""
    width = 14 * geometry.hidden + 3 * geometry.feed_forward
    size = tokens * width * dtype.itemsize
    if isinstance(geometry, ForeignGeometry):  # all scores of all heads, several times over
        size += 8 * geometry.heads * tokens * tokens * dtype.itemsize
    return size + (64 << 20)
