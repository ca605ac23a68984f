"""Images built for real and run from their own root, where there is no container engine."""
