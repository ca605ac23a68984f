"""What the benchmarks share: models and passages made on the spot, contestants in processes of their own, tables."""
