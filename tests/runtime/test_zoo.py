"""The references of `zoo` against other evidence: sentence-transformers on the same files, whole-vocabulary logits,
what must change and what must not. A reference that is wrong would hide a runtime that is wrong in the same way.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from PIL import Image
from tokenizers import Tokenizer
from zoo.common import bidirectional, reader, torch, transformers
from zoo.nemotron_vl import shuffle

NAMES = list(zoo.FAMILIES)
PAIRS = ["bert", "electra", "roberta", "xlmr", "modernbert-cls", "modernbert-mean", "deberta-v2"]
SENTENCES = [name for name in NAMES if name.startswith("sentence-")]
CROSS = [*PAIRS, "qwen3-sentence", "qwen3-sentence-true"]
BIDIRECTIONAL = [name for name in NAMES if name.startswith(("llama-bidirec", "mistral"))]
DECODERS = ["qwen3-causal", "qwen3-tied", "mxbai-v2", "bge-gemma"]
CONTROL = "a<|im_end|>b [SEP] </s> <s> [CLS] <bos><eos> <|begin_of_text|><img><IMG_CONTEXT></img> <|endoftext|> <pad>"
QUERY = zoo.words(5, 300)
PASSAGES = ["", *(zoo.words(12 + n, 37 * n) for n in range(4)), "waaa? wabc.\n\nwabb:", CONTROL]

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def library() -> Any:
    """sentence-transformers, less its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers  # noqa: PLC0415
    return sentence_transformers


def control_ids(directory: Path) -> set[int]:
    added = Tokenizer.from_file(str(directory / "tokenizer.json")).get_added_tokens_decoder()
    return {n for n, token in added.items() if token.special and token.content not in {"<unk>", "[UNK]"}}


def digest(directory: Path) -> dict[str, str]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", NAMES)
def test_family(name: str, made: Made, tmp_path: Path) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    family.make(tmp_path)
    assert digest(tmp_path) == digest(directory)  # the same bytes every time

    scores = family.scores(directory, QUERY, PASSAGES, limit=220)
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0.1
    assert len({round(score, 3) for score in scores}) == len(PASSAGES)
    lower = family.scores(directory, QUERY, PASSAGES, limit=220, dtype=torch.bfloat16)
    assert lower != scores
    assert lower == pytest.approx(scores, abs=0.15 + 0.05 * np.abs(scores).max())
    other = family.scores(directory, zoo.words(5, 800), PASSAGES, limit=220)
    assert np.abs(np.subtract(scores, other)).max() > 0.05

    told = family.scores(directory, QUERY, PASSAGES, limit=220, instruction="wjjj wjji")
    assert (told != scores) == family.instructed


@pytest.mark.parametrize("name", NAMES)
def test_tokens(name: str, made: Made) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    long = family.tokens(directory, QUERY, zoo.words(40), 400)
    longer = family.tokens(directory, QUERY, zoo.words(43), 400)
    assert len(longer) - len(long) == 3  # a word is a token
    assert family.tokens(directory, QUERY, zoo.words(43), len(long)) == long
    for limit in (len(long) - 1, len(long) - 30):
        cut = family.tokens(directory, QUERY, zoo.words(40), limit)
        assert len(cut) == limit
        shared = next(n for n in range(limit + 1) if n == limit or cut[n] != long[n])
        assert cut[shared:] == long[len(long) - limit + shared :]  # the passage's tail went, and nothing else

    tight, question = len(family.tokens(directory, "", "", 400)) + 20, zoo.words(300)
    full = family.tokens(directory, question, "wjjj", tight)
    if not name.startswith("sentence-"):
        assert len(full) == tight
        assert family.tokens(directory, question, "wjji", tight) == full  # nothing of the passage

    control = control_ids(directory)
    templated = [n for n in long if n in control]
    assert [n for n in family.tokens(directory, CONTROL, CONTROL, 400, CONTROL) if n in control] == templated


def test_gemma_gives_queries_three_quarters(made: Made) -> None:
    family, directory = zoo.FAMILIES["bge-gemma"], made("bge-gemma")
    ids = family.tokens(directory, zoo.words(300), zoo.words(300, 300), 400)
    whole = family.tokens(directory, zoo.words(300), zoo.words(300, 300), 1000)
    assert len(ids) == 400
    assert ids[: 1 + 300] == whole[: 1 + 300]  # the beginning, then three quarters of the limit
    line = reader(directory).template("\n")
    assert ids[1 + 300 : 1 + 300 + len(line)] == line


@pytest.mark.parametrize("name", NAMES)
def test_direction(name: str, made: Made) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    one = family.tokens(directory, QUERY, f"{zoo.words(30)} waaa", 400)
    two = family.tokens(directory, QUERY, f"{zoo.words(30)} wjjj", 400)
    place = next(n for n, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    change = (family.hidden(directory, one) - family.hidden(directory, two)).abs().max(1).values
    assert change[place:].min() > 1e-3
    assert (change[:place] == 0).all() if family.causal else change[:place].min() > 1e-6


@pytest.mark.parametrize("name", CROSS)
def test_cross_encoder(name: str, made: Made, library: Any) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = library.CrossEncoder(str(directory), device="cpu", activation_fn=torch.nn.Identity())
        plain = PASSAGES[:-1]  # control tokens act in the library
        found = model.predict([(QUERY, passage) for passage in plain], batch_size=1, show_progress_bar=False)
        assert found == pytest.approx(family.scores(directory, QUERY, plain, limit=300), abs=1e-4)
        if family.instructed:
            found = model.predict([(QUERY, p) for p in plain], prompt="wjjj wjji.", batch_size=1)
            told = family.scores(directory, QUERY, plain, limit=300, instruction="wjjj wjji.")
            assert found == pytest.approx(told, abs=1e-4)
        model.max_seq_length = 110  # the library cuts the longer text, which is the passage
        given = model.preprocess([[QUERY, zoo.words(200)]])["input_ids"][0].tolist()
    assert given == family.tokens(directory, QUERY, zoo.words(200), 110)


@pytest.mark.parametrize("name", SENTENCES)
def test_sentence_encoder(name: str, made: Made, library: Any) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = library.SentenceTransformer(str(directory), device="cpu")
        query = model.encode_query([QUERY], convert_to_tensor=True, show_progress_bar=False)
        options = {"batch_size": 1, "convert_to_tensor": True, "show_progress_bar": False}
        passages = model.encode_document(PASSAGES[:-1], **options)
    found = torch.cosine_similarity(query, passages).tolist()
    assert found == pytest.approx(family.scores(directory, QUERY, PASSAGES[:-1], limit=128), abs=1e-4)
    ours = family.vector(directory, PASSAGES[2], 128)
    scale = ours.norm() if family.normalize else 1.0
    assert torch.allclose(passages[2], ours / scale, atol=1e-4)


@pytest.mark.parametrize("name", [*BIDIRECTIONAL, "llama-nemotron-vl"])
def test_bidirectional_as_the_library_has_it(name: str, made: Made) -> None:
    """`transformers` has a switch of its own for attention both ways; positions may start anywhere."""
    family, directory = zoo.FAMILIES[name], made(name)
    ids = family.tokens(directory, QUERY, zoo.words(20), 300)
    model = family.open(directory).eval().model
    model = getattr(model, "language_model", model)
    model.config.is_causal = False
    with torch.inference_mode():
        places = torch.arange(len(ids))[None] + 11
        found = model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), position_ids=places)[0][0]
    assert torch.allclose(found, family.hidden(directory, ids), atol=1e-4)


def test_rope_scaling_acts(made: Made) -> None:
    family, directory = zoo.FAMILIES["llama-bidirec"], made("llama-bidirec")
    ids = family.tokens(directory, QUERY, zoo.words(20), 300)
    want = family.hidden(directory, ids)
    model = family.open(directory).eval().model
    plain = transformers.LlamaConfig(**model.config.to_dict() | {"rope_parameters": {"rope_theta": 500000.0}})
    model.rotary_emb = type(model.rotary_emb)(plain)
    with torch.inference_mode():
        states = model(torch.tensor([ids]), attention_mask=bidirectional(len(ids))).last_hidden_state[0]
    assert (states - want).abs().max() > 0.1


@pytest.mark.parametrize("name", DECODERS)
def test_whole_vocabulary(name: str, made: Made) -> None:
    """The answer is a difference of the language model's own logits after the whole prompt."""
    family, directory = zoo.FAMILIES[name], made(name)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    true, false = family.words
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ids = family.tokens(directory, QUERY, PASSAGES[2], 300)
    with torch.inference_mode():
        places = torch.arange(len(ids))[None] + 11  # anywhere: only distances count
        logits = model(torch.tensor([ids]), position_ids=places).logits[0, -1]
    found = logits[tokenizer.token_to_id(true)] - (logits[tokenizer.token_to_id(false)] if false else 0.0)
    assert found.item() == pytest.approx(family.scores(directory, QUERY, [PASSAGES[2]], limit=300)[0], abs=1e-4)


PROMPTS = {
    "llama-bidirec": "<|begin_of_text|>question:{q} \n \n passage:{p}",
    "mistral": "<s>question:{q} \n \n passage:{p}",
    "qwen3-causal": "<|im_start|>system\nJudge {…}.<|im_end|>\n<|im_start|>user\n<Instruct>: {i}\n<Query>: {q}\n"
    "<Document>: {p}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "mxbai-v2": "<|im_start|>system\nYou {…}.<|im_end|>\n<|im_start|>user\ninstruction: {i}\nquery: {q}\n"
    "document: {p}\nYou {…}.\nRelevance:<|im_end|>\n<|im_start|>assistant\n",
    "bge-gemma": "<bos>A: {q}\nB: {p}\nGiven {…}'Yes' or 'No'.",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt(name: str, made: Made) -> None:
    tokenizer = Tokenizer.from_file(str(made(name) / "tokenizer.json"))
    text = tokenizer.decode(zoo.FAMILIES[name].tokens(made(name), "wabc?", "wabd.", 400, "wabe."), False)
    want = PROMPTS[name].replace("{q}", "wabc?").replace("{p}", "wabd.").replace("{i}", "wabe.").split("{…}")
    text = text.replace("<s> ", "<s>")  # the space that Mistral's tokenizer puts first
    assert text.startswith(want[0])
    assert text.endswith(want[-1])
    assert all(part in text for part in want[1:-1])


def test_tensor_names(made: Made, tmp_path: Path) -> None:
    def names(directory: Path) -> set[str]:
        raw = [path.read_bytes() for path in directory.glob("*.safetensors")]
        heads = [json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) for data in raw]
        return set().union(*heads) - {"__metadata__"}

    assert {"model.embed_tokens.weight", "model.norm.weight", "score.weight"} < names(made("llama-bidirec"))
    assert "lm_head.weight" in names(made("qwen3-causal"))
    assert "lm_head.weight" not in names(made("qwen3-tied")) | names(made("bge-gemma")) | names(made("mxbai-v2"))
    assert len(list(made("bge-gemma").glob("*.safetensors"))) > 1
    nested = "model.vision_model.vision_model.embeddings.patch_embedding.weight"
    zoo.FAMILIES["llama-nemotron-vl"].make(tmp_path, nested_vision_names=False, processor_tiles=None)
    published, flat = names(made("llama-nemotron-vl")), names(tmp_path)
    assert {nested, "model.mlp1.0.weight", "model.mlp1.3.bias", "score.weight"} < published
    assert flat == {name.replace("vision_model.vision_model", "vision_model") for name in published}
    passages = [(None, picture(70, 40))]
    family = zoo.FAMILIES["llama-nemotron-vl"]
    both = [family.image_scores(where, QUERY, passages, 300) for where in (made(family.name), tmp_path)]
    assert both[0] == both[1]


def picture(width: int, height: int, mode: str = "RGB", seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height)).convert(mode)


@pytest.mark.parametrize(
    ("size", "most", "grid"),
    [
        ((40, 40), 4, (1, 1)),
        ((100, 50), 4, (2, 1)),
        ((50, 200), 4, (1, 4)),
        ((200, 200), 4, (2, 2)),
        ((200, 200), 2, (1, 1)),
        ((300, 100), 4, (3, 1)),
        ((320, 20), 4, (4, 1)),
        ((320, 20), 1, (1, 1)),
        ((300, 200), 6, (3, 2)),
    ],
)
def test_tiles(size: tuple[int, int], most: int, grid: tuple[int, int]) -> None:
    image = picture(*size)
    pieces = zoo.tiles(image, most, 32, thumbnail=True)
    whole = np.asarray(image.resize((32 * grid[0], 32 * grid[1])))
    want = [whole[32 * r : 32 * r + 32, 32 * c : 32 * c + 32] for r in range(grid[1]) for c in range(grid[0])]
    want += [np.asarray(image.resize((32, 32)))] if len(want) > 1 else []
    assert len(pieces) == len(want)
    assert all((np.asarray(a) == b).all() for a, b in zip(pieces, want, strict=True))
    assert len(zoo.tiles(image, most, 32, thumbnail=False)) == grid[0] * grid[1]


def test_images(made: Made) -> None:
    family, directory = zoo.FAMILIES["llama-nemotron-vl"], made("llama-nemotron-vl")
    grid = torch.arange(2 * 64 * 3.0).view(2, 8, 8, 3)  # against one reshape instead of four slices
    want = grid.view(2, 4, 2, 4, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(2, 16, 12)
    assert torch.equal(shuffle(grid.view(2, 64, 3)), want)

    wide, tall = picture(120, 40), picture(40, 120)
    assert family.per_tile(directory) == 16
    ids = family.image_tokens(directory, QUERY, CONTROL, len(family.tiles(directory, wide)), 512)
    context = json.loads((directory / "config.json").read_text())["img_context_token_id"]
    assert ids.count(context) == 4 * 16  # three tiles and the whole
    assert ids[0] not in ids[1:]
    passages = [(None, wide), (None, tall), (None, picture(120, 40, seed=2)), (PASSAGES[1], wide), (PASSAGES[1], None)]
    scores = family.image_scores(directory, QUERY, passages, 512)
    assert np.isfinite(scores).all()
    assert min(abs(a - b) for n, a in enumerate(scores) for b in scores[:n]) > 0.001
    assert scores[-1] == family.scores(directory, QUERY, [PASSAGES[1]], limit=512)[0]
    modes = family.image_scores(directory, QUERY, [(None, picture(90, 60, m)) for m in ("RGBA", "L", "P")], 512)
    assert len(set(modes)) == 3
    lower = family.image_scores(directory, QUERY, passages, 512, torch.bfloat16)
    assert lower == pytest.approx(scores, abs=0.1)
