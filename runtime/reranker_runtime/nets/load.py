"""From a blueprint to its network on one device."""

from __future__ import annotations

import torch

from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.models.geometry import DecoderGeometry, EncoderGeometry, ForeignGeometry, ModernBertGeometry
from reranker_runtime.nets.decoder import Decoder
from reranker_runtime.nets.encoder import Encoder
from reranker_runtime.nets.head import TorchHead
from reranker_runtime.nets.modernbert import ModernBert
from reranker_runtime.nets.net import Net
from reranker_runtime.nets.seeing import SeeingDecoder
from reranker_runtime.nets.weights import Weights


def load(blueprint: Blueprint, limit: int, device: torch.device, dtype: torch.dtype) -> Net:
    """The network with its weights; `limit` is the longest sequence it will be asked for."""
    design = blueprint.design
    geometry = design.body.geometry
    if isinstance(geometry, ForeignGeometry):
        from reranker_runtime.nets.foreign import Foreign  # noqa: PLC0415 - imports transformers: seconds

        return Foreign(blueprint, geometry, device, dtype)
    with Weights(blueprint, device, dtype) as weights:
        try:
            head = TorchHead(design.head, weights)
            match geometry:
                case EncoderGeometry():
                    return Encoder(geometry, head, weights, device)
                case ModernBertGeometry():
                    return ModernBert(geometry, limit, head, weights, device)
                case DecoderGeometry() if design.vision is not None:
                    return SeeingDecoder(geometry, design.vision, limit, head, weights, device)
                case DecoderGeometry():
                    return Decoder(geometry, limit, head, weights, device)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                Reason.LOAD_FAILED,
                f"the weights in {blueprint.directory} ({blueprint.parameters} parameters in {dtype}) do not fit into "
                "this GPU's memory; use a larger GPU or a smaller model",
            ) from error
