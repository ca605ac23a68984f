"""Every name of every setting, what is refused, and what is only mentioned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reranker_runtime.errors import SettingsError
from reranker_runtime.settings import Device, LogLevel, Precision, Settings, read_settings, unknown_variables

DIGEST = "sha256:" + "a" * 64


def test_defaults() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.internal_port) == ("0.0.0.0", 8000, 8002)
    assert (settings.max_passages, settings.max_queue, settings.request_timeout) == (512, 1024, 120)
    assert (settings.precision, settings.device, settings.log_level) == (Precision.AUTO, Device.AUTO, LogLevel.INFO)
    assert not settings.strict_json


@pytest.mark.parametrize(
    ("variable", "raw", "field", "value"),
    [
        ("NIM_MODEL_PATH", "/m", "model_path", Path("/m")),
        ("NIM_ENGINE_MODEL_PATH", "/m", "model_path", Path("/m")),
        ("NIM_SERVED_MODEL_NAME", "a/b, c", "served_names", ("a/b", "c")),
        ("NIM_MODEL_NAME", "a", "model_name", "a"),
        ("NIM_ENGINE_MODEL_NAME", "a", "model_name", "a"),
        ("NIM_HTTP_API_PORT", "9", "port", 9),
        ("NIM_SERVER_PORT", "9", "port", 9),
        ("NIM_BIND_ADDR", "127.0.0.1:9", "port", 9),
        ("NIM_BIND_ADDR", "127.0.0.1:9", "host", "127.0.0.1"),
        ("NIM_SERVER_BIND_ADDR", "[::1]:9", "host", "::1"),
        ("NIM_SERVER_BIND_ADDR", "::1", "host", "::1"),
        ("RERANKER_INTERNAL_PORT", "0", "internal_port", 0),
        ("NIM_PRECISION", "bfloat16", "precision", Precision.BF16),
        ("NIM_PRECISION", "FP16", "precision", Precision.FP16),
        ("NIM_PRECISION", "float32", "precision", Precision.FP32),
        ("RERANKER_DEVICE", "cuda", "device", Device.CUDA),
        ("NIM_PIPELINE_MAX_SEQ_LEN", "512", "max_tokens", 512),
        ("NIM_PIPELINE_MAX_BATCH_SIZE", "8", "max_rows", 8),
        ("RERANKER_BATCH_TOKENS", "4096", "batch_tokens", 4096),
        ("NIM_NUM_TOKENIZERS", "4", "tokenizers", 4),
        ("RERANKER_MODEL_DIGEST", DIGEST, "model_digest", DIGEST),
        ("RERANKER_MAX_PASSAGES", "1000", "max_passages", 1000),
        ("RERANKER_MAX_BODY_BYTES", "1024", "max_body_bytes", 1024),
        ("NIM_MAX_QUEUE_SIZE", "7", "max_queue", 7),
        ("NIM_SERVER_MAX_QUEUE_SIZE", "7", "max_queue", 7),
        ("RERANKER_MAX_QUEUE_SECONDS", "0.5", "max_queue_seconds", 0.5),
        ("NIM_REQUEST_TIMEOUT_S", "60", "request_timeout", 60.0),
        ("NIM_SERVER_REQUEST_TIMEOUT_S", "60", "request_timeout", 60.0),
        ("RERANKER_STRICT_JSON", "true", "strict_json", True),
        ("RERANKER_REVISION", "5d9c", "revision", "5d9c"),
        ("NIM_LOG_LEVEL", "WARNING", "log_level", LogLevel.WARNING),
        ("NIM_LOG_LEVEL", "trace", "log_level", LogLevel.DEBUG),
        ("RUST_LOG", "hyper=warn,error", "log_level", LogLevel.ERROR),
        ("NIM_JSONL_LOGGING", "1", "json_logs", True),
        ("LOG_FORMAT", "json", "json_logs", True),
        ("LOG_FORMAT", "text", "json_logs", False),
    ],
)
def test_every_variable(variable: str, raw: str, field: str, value: object) -> None:
    assert getattr(read_settings({variable: raw}), field) == value
    assert unknown_variables({variable: raw}) == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"NIM_PRECISION": "fp8"}, "fp8 is not supported yet"),
        ({"NIM_PRECISION": "int4"}, "NIM_PRECISION=int4"),
        ({"NIM_HTTP_API_PORT": "70000"}, "NIM_HTTP_API_PORT=70000"),
        ({"NIM_BIND_ADDR": "host:x1"}, "host:x1"),
        ({"RERANKER_MAX_PASSAGES": "0"}, "Passages in one request"),
        ({"RERANKER_MODEL_DIGEST": "abc"}, "reranker-runtime verify"),
        ({"NIM_LOG_LEVEL": "loud"}, "NIM_LOG_LEVEL=loud"),
        ({"RERANKER_REVISION": "a\nb"}, "RERANKER_REVISION"),
        ({"NIM_TLS_CERT_PATH": "/c"}, "belong together"),
        ({"NIM_SERVER_PORT": "8002"}, "RERANKER_INTERNAL_PORT"),
        ({"NIM_MODEL_PATH": "/a", "NIM_ENGINE_MODEL_PATH": "/b"}, "NIM_MODEL_PATH=/a and NIM_ENGINE_MODEL_PATH=/b"),
        ({"NIM_HTTP_API_PORT": "1", "NIM_BIND_ADDR": "0.0.0.0:2"}, "NIM_BIND_ADDR=0.0.0.0:2"),
        ({"NIM_JSONL_LOGGING": "1", "LOG_FORMAT": "text"}, "disagree"),
    ],
)
def test_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(environ)
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_two_names_that_agree_are_taken() -> None:
    # NVIDIA's operator sets both, as text that may differ and mean the same.
    environ = {"NIM_HTTP_API_PORT": "9", "NIM_SERVER_PORT": "09", "NIM_JSONL_LOGGING": "1", "LOG_FORMAT": "jsonl"}
    settings = read_settings(environ)
    assert (settings.port, settings.json_logs) == (9, True)


def test_an_empty_variable_is_not_set_and_a_flag_wins() -> None:
    assert read_settings({"NIM_PRECISION": ""}).precision is Precision.AUTO
    assert read_settings({"NIM_PRECISION": "fp32"}, precision="bf16", port=None).precision is Precision.BF16
    with pytest.raises(SettingsError, match="NIM_HTTP_API_PORT"):
        read_settings({}, port=0)


def test_names_fall_back_to_the_directory() -> None:
    assert read_settings({"NIM_MODEL_PATH": "/models/tiny"}).names == ("tiny",)
    assert read_settings({"NIM_MODEL_PATH": "/m", "NIM_MODEL_NAME": "a"}).names == ("a",)
    assert read_settings({"NIM_MODEL_NAME": "a", "NIM_SERVED_MODEL_NAME": "b"}).names == ("b",)
    with pytest.raises(SettingsError, match="--model DIRECTORY"):
        assert read_settings({}).names


def test_unknown_variables_are_listed_and_kubernetes_own_are_not() -> None:
    environ = {
        "NIM_WARP": "1",
        "RERANKER_MAX_PASSAGE": "2",
        "NIM_CACHE_PATH": "/model-store",
        "RERANKER_SERVICE_HOST": "10.0.0.1",
        "RERANKER_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert unknown_variables(environ) == ["NIM_WARP", "RERANKER_MAX_PASSAGE"]
    # A Service called reranker-internal makes Kubernetes set this one in every pod of the namespace.
    assert read_settings({"RERANKER_INTERNAL_PORT": "tcp://10.0.0.1:8002"}).internal_port == 8002


def test_the_pod_contract_is_understood() -> None:
    contract = (Path(__file__).parents[2] / "docs/pod-contract.md").read_text()
    variables = set(re.findall(r"^\| `((?:NIM|RERANKER)_\w+)`", contract, re.MULTILINE))
    assert len(variables) >= 10
    assert unknown_variables(dict.fromkeys(variables, "x")) == []


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
