"""Tiny tokenizers, each of the real type of its family: normalizer, splitting, model, control tokens, template.

Every word of `WORDS` is one token in all of them when a space stands before it, so tests count tokens by counting
words. `NUMBERED` (w0..w999) are one token only where the real splitting lets digits stand beside letters: not in
byte-level BPE, which cuts " w12" into " w" and "12" (Llama 3, RoBERTa) or " w", "1", "2" (Qwen).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordPiece

WORDS = ["w" + "".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
NUMBERED = [f"w{n}" for n in range(1000)]
NUMBERS = [str(n) for n in range(1000)]
SQUARE = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
ANGLE = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
ANGLE |= {"unk_token": "<unk>", "mask_token": "<mask>"}
"""What tokenizer_config.json says of control tokens in BERT's and in RoBERTa's line."""
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(n) for n in range(10)]
VOCABULARY = (
    "question passage Instruct Query Document system user assistant Judge whether the meets requirements based on and "
    "provided Note that answer can only be yes no Yes No to search query retrieve relevant passages You are Qwen "
    "created by Alibaba Cloud a helpful instruction document expert who evaluates how well documents match queries For "
    "each pair carefully analyze semantic relationship between them then provide your binary relevance judgment for "
    "not Relevance Given web A B determine contains an prediction of either or protein should eat how much"
)
TEMPLATE = VOCABULARY.split()
SPLITS = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
ENDS = [*(f"{mark}\n" for mark in ".?!:,) "), *(f"{mark}\n\n" for mark in ".?! "), "\n\n", " \n \n", ">:", '".', "   "]
"""Pieces that join what a template writes with what a user wrote: whoever cuts a prompt elsewhere gets other ids."""


def words(count: int, start: int = 0) -> str:
    """That many words, each of one token where a space stands before it."""
    return " ".join(WORDS[(start + n) % len(WORDS)] for n in range(count))


@cache
def merges(pieces: tuple[str, ...]) -> list[tuple[str, str]]:
    """Merges that make one token of each piece."""
    tokenizer = Tokenizer(BPE())
    trainer = trainers.BpeTrainer(vocab_size=100_000, min_frequency=1, show_progress=False)
    tokenizer.train_from_iterator(pieces, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _bpe(first: Iterable[str], alphabet: Iterable[str], pieces: Iterable[str], **options: Any) -> Any:
    merged = merges(tuple(dict.fromkeys(pieces)))
    known = [*first, *alphabet, *("".join(pair) for pair in merged)]
    return BPE(vocab={piece: n for n, piece in enumerate(dict.fromkeys(known))}, merges=merged, **options)


def _byte_level(first: Iterable[str] = (), *, numbers: Iterable[str] = (), **options: Any) -> Any:
    plain = [*WORDS, *TEMPLATE, "w"]
    pieces = [*plain, *(f" {word}" for word in plain), *ENDS, *numbers, *(f" {n}" for n in numbers if len(n) > 1)]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = ["".join(part for part, _ in level.pre_tokenize_str(piece)) for piece in pieces]
    return _bpe(first, sorted(pre_tokenizers.ByteLevel.alphabet()), spelled, **options)


def _sentencepiece(first: list[str]) -> Any:
    plain = [*WORDS, *NUMBERED, *TEMPLATE]
    pieces = [*plain, *(f"▁{word}" for word in plain), "▁▁", ".\n", "\n\n"]
    characters = [chr(c) for c in range(33, 127)] + ["▁"]
    alphabet = [*(f"<0x{byte:02X}>" for byte in range(256)), *characters, "\n"]
    return _bpe(first, alphabet, pieces, fuse_unk=True, byte_fallback=True, unk_token="<unk>")


def _template(tokenizer: Any, single: str, pair: str) -> Any:
    names = {part.partition(":")[0] for part in pair.split() if not part.startswith("$")}
    ids = [(name, tokenizer.token_to_id(name)) for name in sorted(names)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def wordpiece() -> Any:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *WORDS, *NUMBERED, *LETTERS, *(f"##{piece}" for piece in LETTERS), *".,?!:<>|/[]"]
    tokenizer = Tokenizer(WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def roberta() -> Any:
    tokenizer = Tokenizer(_byte_level(["<s>", "<pad>", "</s>", "<unk>"], numbers=NUMBERS))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def modernbert() -> Any:
    tokenizer = Tokenizer(_byte_level(numbers=NUMBERS))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True)])
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _unigram(special: list[str], unknown: int, mask: str) -> Any:
    vocabulary = [(word, 0.0) for word in special]
    vocabulary += [(f"▁{word}", -1.0) for word in (*WORDS, *NUMBERED)]
    vocabulary += [(piece, -9.0) for piece in ["▁", *LETTERS, *".,?!:<>|/[]"]] + [(mask, 0.0)]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*special, AddedToken(mask, lstrip=True)])
    return tokenizer


def xlmr() -> Any:
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"], 3, "<mask>")
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    return tokenizer


def deberta() -> Any:
    tokenizer = _unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], 3, "[MASK]")
    tokenizer.post_processor = _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    return tokenizer


def _split(pattern: str) -> Any:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLITS[pattern]), "isolated"), level])


def llama3(*, images: bool = False) -> Any:
    tokenizer = Tokenizer(_byte_level(numbers=NUMBERS, ignore_merges=True))
    tokenizer.pre_tokenizer = _split("llama3")
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([*special, *(["<img>", "</img>", "<IMG_CONTEXT>"] if images else [])])
    begin = "<|begin_of_text|>"
    template = _template(tokenizer, f"{begin} $A", f"{begin} $A {begin}:1 $B:1")
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


THINKING = ("<think>", "</think>")


def qwen2() -> Any:
    """Qwen 2 and what is made of it."""
    tokenizer = Tokenizer(_byte_level())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split("qwen2")
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def qwen3() -> Any:
    """As published, the thinking marks are added tokens but not "special" ones."""
    tokenizer = qwen2()
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in THINKING])
    return tokenizer


def mistral() -> Any:
    tokenizer = Tokenizer(_sentencepiece(["<unk>", "<s>", "</s>"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = _template(tokenizer, "<s> $A", "<s> $A <s>:1 $B:1")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def gemma() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = Tokenizer(_sentencepiece(special))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = _template(tokenizer, "<bos> $A", "<bos> $A <bos>:1 $B:1")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def write(tokenizer: Any, directory: Path, settings: dict[str, Any], *, sections: bool = True) -> None:
    """The two files a publisher ships; `sections` adds truncation and padding to 16, which nobody may obey."""
    directory.mkdir(parents=True, exist_ok=True)
    if sections:
        tokenizer.enable_truncation(16)
        tokenizer.enable_padding(length=16)
    tokenizer.save(str(directory / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / "tokenizer_config.json").write_text(json.dumps(kind | settings, indent=2))


class Reader:
    """A tokenizer as its file has it, less truncation and padding, for text that users wrote."""

    def __init__(self, directory: Path) -> None:
        self.inner = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.inner.no_truncation()
        self.inner.no_padding()
        model = json.loads((directory / "tokenizer.json").read_text())["model"]
        unknown = model.get("unk_token")
        self.unknown = self.inner.token_to_id(unknown) if unknown else model.get("unk_id")
        # Qwen's thinking marks are none of its special tokens, and control what follows all the same.
        known = (mark for mark in THINKING if self.inner.token_to_id(mark) is not None)
        self.inner.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in known])
        added = self.inner.get_added_tokens_decoder()
        self.control = {n for n, token in added.items() if token.special} - {self.unknown}

    def user(self, text: str) -> list[int]:
        """Ids of a user's text: nothing in it acts as a control token; a vocabulary's own such pieces are unknown."""
        self.inner.encode_special_tokens = True
        ids = self.inner.encode(text, add_special_tokens=False).ids
        kept = [self.unknown if n in self.control else n for n in ids]
        assert None not in kept
        return kept

    def template(self, text: str) -> list[int]:
        """Ids of a template's own text, in which control tokens act."""
        self.inner.encode_special_tokens = False
        return self.inner.encode(text, add_special_tokens=False).ids

    def id(self, token: str) -> int:
        found = self.inner.token_to_id(token)
        assert found is not None, token
        return found
