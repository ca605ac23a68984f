"""Finding, checking and fingerprinting a model directory. Nothing here imports torch."""
