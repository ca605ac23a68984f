"""The ranking runtime: NVIDIA NeMo Retriever Reranking NIM's HTTP API over a local model directory."""
