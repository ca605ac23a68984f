"""`reranker-runtime fetch`: a model from a hub into a directory, whole or not at all."""
