"""The rerank APIs that clients speak, one file each: how a body is read, and how scores and failures are told.

body ──► Dialect.read ──► asks ──► the one scoring call ──► logits ──► Asked.answer ──► body
"""
