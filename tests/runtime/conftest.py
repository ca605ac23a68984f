"""Real servers, and tiny models made on the spot: random weights from a fixed seed, saved as people save models."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
import zoo
from click.testing import CliRunner
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram, WordPiece

from reranker_runtime.cli import main

DEADLINE = 120.0
WORDS = [f"w{n}" for n in range(1000)]
"""Each is one token of the tiny tokenizers, so that a test counts tokens by counting words."""
PIECES = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(n) for n in range(10)]


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "reranker_runtime", *map(str, args)]


def environment(**extra: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NIM_", "RERANKER_", "RUST_"))}
    return kept | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in extra.items()}


def bert_tokenizer() -> Any:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *WORDS, *PIECES, *(f"##{piece}" for piece in PIECES)]
    tokenizer = Tokenizer(WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def xlmr_tokenizer() -> Any:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(word, 0.0) for word in special]
    vocabulary += [(f"▁{word}", -1.0) for word in WORDS] + [(piece, -9.0) for piece in ["▁", *PIECES]]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


class Models:
    """Model directories by name, each made when first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def copy(self, source: Path, name: str) -> Path:
        """A copy that a test may break."""
        return Path(shutil.copytree(source, self._root / "copies" / name))

    @cached_property
    def bert(self) -> Path:
        return self._make("bert", "BertForSequenceClassification", "BertConfig", bert_tokenizer())

    @cached_property
    def xlmr(self) -> Path:
        return self._make("xlmr", "XLMRobertaForSequenceClassification", "XLMRobertaConfig", xlmr_tokenizer())

    @cached_property
    def sharded(self) -> Path:
        """The same weights as `xlmr`, in several files."""
        directory = self._make(
            "sharded", "XLMRobertaForSequenceClassification", "XLMRobertaConfig", xlmr_tokenizer(), shard="100KB"
        )
        assert len(list(directory.glob("*.safetensors"))) > 2
        return directory

    @cached_property
    def slow(self) -> Path:
        """Large enough that 512 long passages take a while."""
        return self._make(
            "slow", "BertForSequenceClassification", "BertConfig", bert_tokenizer(), hidden=256, layers=4, heads=4
        )

    def sentence(self, pooling: str) -> Path:
        directory = self._root / f"sentence-{pooling}"
        if directory.exists():
            return directory
        self._make(directory.name, "BertModel", "BertConfig", bert_tokenizer(), limit=None)
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        listed = [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(modules)
        ]
        (directory / "modules.json").write_text(json.dumps(listed))
        (directory / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
        (directory / "1_Pooling").mkdir()
        old = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
        chosen = {key: mode == pooling for mode, key in old.items()}
        (directory / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 64} | chosen))
        return directory

    def _make(
        self,
        name: str,
        architecture: str,
        config: str,
        tokenizer: Any,
        *,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        limit: int | None = 514,
        shard: str = "1GB",
    ) -> Path:
        torch, transformers = libraries()
        torch.manual_seed(7)
        roberta = config == "XLMRobertaConfig"
        made = getattr(transformers, config)(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=2 * hidden,
            max_position_embeddings=518,
            type_vocab_size=1 if roberta else 2,
            pad_token_id=1 if roberta else 0,
            initializer_range=0.1,
            num_labels=1,
        )
        directory = self._root / name
        model = getattr(transformers, architecture)(made)
        for parameter in model.parameters():  # biases and norms start at 0 and 1, where a mistake would not show
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter.data, mean=float(parameter.data.mean()), std=0.1)
        model.save_pretrained(directory, max_shard_size=shard)
        tokenizer.enable_truncation(16)  # as published tokenizers have it: neither may have any effect
        tokenizer.enable_padding(length=16)
        tokenizer.save(str(directory / "tokenizer.json"))
        settings = {"model_max_length": limit} if limit else {}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        return directory


def libraries() -> tuple[Any, Any]:
    """torch and the reference; importing them warns of things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch  # noqa: PLC0415 - inside, where its warnings are not errors
        import transformers  # noqa: PLC0415

        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
    return torch, transformers


class Reference:
    """What `transformers` computes on the same weights, one pair at a time, so that nothing is padded."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Path, bool], Any] = {}

    def scores(self, directory: Path, query: str, passages: Sequence[str], *, limit: int) -> list[float]:
        torch, _ = libraries()
        tokenizer, model = self._load(directory)
        with torch.inference_mode():
            if not (directory / "modules.json").exists():
                # Lists of one, as CrossEncoder does: given bare, an empty passage is taken for none at all.
                encoded = [
                    tokenizer([query], [p], truncation="only_second", max_length=limit, return_tensors="pt")
                    for p in passages
                ]
                return [model(**e).logits[0, 0].item() for e in encoded]
            vectors = [self._vector(directory, text, limit) for text in (query, *passages)]
            return [torch.cosine_similarity(vectors[0], v, dim=0).item() for v in vectors[1:]]

    def _vector(self, directory: Path, text: str, limit: int) -> Any:
        tokenizer, model = self._load(directory)
        hidden = model(**tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")).last_hidden_state[0]
        pooling = directory.name.rpartition("-")[2]
        return {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.max(0).values}[pooling]

    def _load(self, directory: Path) -> Any:
        sentence = (directory / "modules.json").exists()
        key = (directory, sentence)
        if key not in self._loaded:
            _, transformers = libraries()
            bert = "Bert" in json.loads((directory / "config.json").read_text())["architectures"][0][:4]
            names = {} if bert else {"model_input_names": ["input_ids", "attention_mask"]}
            tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"), **names)
            tokenizer.backend_tokenizer.no_padding()
            if bert:
                tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
            auto = transformers.AutoModel if sentence else transformers.AutoModelForSequenceClassification
            self._loaded[key] = tokenizer, auto.from_pretrained(directory).eval().float()
        return self._loaded[key]


class Server:
    """A real `reranker-runtime serve` process with two free ports."""

    def __init__(self, model: Path, log: Path, **variables: object) -> None:
        self.port, self.internal_port = free_ports(2)
        self.url, self.internal = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.internal_port}"
        self._log = log
        self.http = httpx.Client(base_url=self.url, timeout=DEADLINE)
        given = {
            "NIM_MODEL_PATH": model,
            "NIM_HTTP_API_PORT": self.port,
            "RERANKER_INTERNAL_PORT": self.internal_port,
            "NIM_BIND_ADDR": "127.0.0.1",
        }
        with log.open("wb") as stream:
            env = environment(**(given | variables))
            self.process = subprocess.Popen(command("serve"), env=env, stdout=stream, stderr=stream)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self, fact: Callable[[], bool], what: str) -> None:
        """Poll until a fact holds; fail with the server's log when it never does."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            try:
                if fact():
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode} before {what}:\n{self.log}")
            time.sleep(0.02)
        pytest.fail(f"never {what}:\n{self.log}")

    def ready(self) -> Server:
        self.wait(lambda: self.http.get("/v1/health/ready").status_code == 200, "ready")
        return self

    def rank(self, query: str, passages: Sequence[str], **extra: object) -> httpx.Response:
        body = {"query": {"text": query}, "passages": [{"text": text} for text in passages]} | extra
        return self.http.post("/v1/ranking", json=body)

    def logits(self, query: str, passages: Sequence[str], **extra: object) -> list[float]:
        """Logits in the order of the passages."""
        answer = self.rank(query, passages, **extra)
        assert answer.status_code == 200, answer.text
        return [item["logit"] for item in sorted(answer.json()["rankings"], key=lambda item: item["index"])]

    def metric(self, name: str) -> float:
        lines = self.http.get("/v1/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)

    def stop(self) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


def free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` run where there is one; elsewhere the summary lists them with the reason."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not libraries()[0].cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no GPU here: run on a machine with one"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made(name)`: the directory of that family's tiny model in `zoo`."""
    root = tmp_path_factory.mktemp("zoo")

    def find(name: str) -> Path:
        if not (root / name).exists():
            zoo.FAMILIES[name].make(root / name)
        return root / name

    return find


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="session")
def started(
    models: Models, made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Server]]:
    """All long-lived servers at once, so that their starts overlap."""
    logs = tmp_path_factory.mktemp("logs")
    servers = {
        # 506 tokens are 503 of text and 3 special tokens.
        "bert": Server(
            models.bert,
            logs / "bert.log",
            NIM_PRECISION="fp32",
            NIM_PIPELINE_MAX_SEQ_LEN=506,
            NIM_SERVED_MODEL_NAME="my_org/tiny-bert_1.0,other",
            RERANKER_REVISION="abc123",
            RERANKER_MAX_BODY_BYTES=4_000_000,
            NIM_LOG_LEVEL="debug",
        ),
        "strict": Server(
            models.sharded,
            logs / "strict.log",
            NIM_PRECISION="bf16",
            RERANKER_STRICT_JSON="true",
            RERANKER_MAX_PASSAGES=600,
            NIM_JSONL_LOGGING=1,
        ),
        "sentence": Server(models.sentence("mean"), logs / "sentence.log", NIM_PRECISION="fp32"),
        "causal": Server(made("qwen3-tied"), logs / "causal.log", NIM_PRECISION="fp32", NIM_PIPELINE_MAX_SEQ_LEN=200),
    }
    yield servers
    codes = {name: server.stop() for name, server in servers.items()}
    assert set(codes.values()) == {0}, {name: servers[name].log for name, code in codes.items() if code}


@pytest.fixture(scope="session")
def bert(started: dict[str, Server]) -> Server:
    """BERT in fp32, 506 tokens, lenient."""
    return started["bert"].ready()


@pytest.fixture(scope="session")
def strict(started: dict[str, Server]) -> Server:
    """Sharded XLM-R in bf16, strict JSON."""
    return started["strict"].ready()


@pytest.fixture(scope="session")
def sentence(started: dict[str, Server]) -> Server:
    """A sentence encoder in fp32, 64 tokens a text."""
    return started["sentence"].ready()


@pytest.fixture(scope="session")
def causal(started: dict[str, Server]) -> Server:
    """Qwen3-Reranker in fp32, 200 tokens, the prompt's beginning shared by all rows."""
    return started["causal"].ready()


def starting(folder: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def begin(model: Path, **variables: object) -> Server:
        servers.append(Server(model, folder / f"server-{len(servers)}.log", **variables))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of one's own; it is stopped at the end."""
    yield from starting(tmp_path)


@pytest.fixture(scope="module")
def start_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """As `start`, for all tests of a module."""
    yield from starting(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end and return what it said."""

    def execute(*args: object, stdin: str | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            command(*args),
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
            **given,
        )

    return execute


@pytest.fixture(scope="session")
def invoke() -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `run`, but in this process, which has imported torch already."""

    def execute(*args: object, stdin: str | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
        env = {name: str(value) for name, value in variables.items()}
        done = CliRunner().invoke(main, list(map(str, args)), input=stdin, env=env)
        return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)

    return execute


@pytest.fixture(scope="session")
def words() -> Callable[[int, int], str]:
    """`words(count, start)`: that many words of one token each."""
    return lambda count, start=0: " ".join(WORDS[(start + n) % len(WORDS)] for n in range(count))
