"""One file per model family. registry, blueprint, bert and sentence are the half that works without torch."""
