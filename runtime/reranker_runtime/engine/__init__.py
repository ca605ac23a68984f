"""Tokenise, batch, score. Nothing below knows of HTTP; only encoder, scorer and hardware import torch."""
