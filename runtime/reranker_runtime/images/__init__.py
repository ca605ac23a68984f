"""Images of passages: from what a client sends to the tiles a vision model takes. Nothing here imports torch."""
