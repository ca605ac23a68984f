"""Pages of docs/reference, each from what the programs themselves go by."""
