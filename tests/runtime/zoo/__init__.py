"""A tiny random model of every reranker family, and an independent reference for each.

family = zoo.FAMILIES["llama-bidirec"]
family.make(directory)
family.tokens(directory, query, passage, limit)
family.scores(directory, query, passages, limit=128)
"""

from __future__ import annotations

from zoo.bidirectional import BIDIRECTIONAL
from zoo.common import Family
from zoo.decoders import DECODERS
from zoo.nemotron_vl import NemotronVL, tiles
from zoo.pairs import PAIRS
from zoo.sentence import SENTENCES
from zoo.tokenizers import NUMBERED, WORDS, words

_ALL: list[Family] = [*PAIRS, *BIDIRECTIONAL, *DECODERS, *SENTENCES, NemotronVL()]
FAMILIES = {family.name: family for family in _ALL}

__all__ = ["FAMILIES", "NUMBERED", "WORDS", "Family", "tiles", "words"]
