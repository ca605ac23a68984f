"""Where benchmarks find the checkout, and where they keep what they made: below .cache, never elsewhere."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
