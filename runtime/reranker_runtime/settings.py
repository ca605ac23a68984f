"""Every setting of the runtime in one typed class: NIM's environment variables of all generations, ours beside them.

Several names may mean one setting, because NIM renamed its variables. Any one is taken; two that disagree are refused,
since whichever won would surprise somebody. A flag on the command line wins over the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self, cast

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from reranker_runtime.artifacts.digest import FORM
from reranker_runtime.errors import SettingsError
from reranker_runtime.images.limits import MOST_BYTES, MOST_PIXELS


@dataclass(frozen=True)
class Env:
    """The environment variables that mean a setting. `NAME#host` and `NAME#port` read one half of an address."""

    names: tuple[str, ...]


class Precision(StrEnum):
    """The number type of the arithmetic; heads and norms accumulate in fp32 whatever is chosen."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Device(StrEnum):
    """Where scoring runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


MOST_PASSAGES: Final = 100_000
"""What RERANKER_MAX_PASSAGES may be at most: a request's list is read no further."""
PRECISIONS: Final = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
LEVELS: Final = {"trace": "debug", "default": "info", "warn": "warning", "critical": "error", "fatal": "error"}
FORMATS: Final = {"json": True, "jsonl": True, "text": False, "plain": False, "console": False, "pretty": False}


def _precision(value: object) -> object:
    name = str(value).strip().lower()
    if name == "fp8":
        raise ValueError("fp8 is not supported yet; use auto, bf16, fp16 or fp32")
    return PRECISIONS.get(name, name)


def _level(value: object) -> object:
    # RUST_LOG may hold directives per module, "info,hyper=warn": the bare one is the level.
    bare = [part.strip().lower() for part in str(value).split(",") if "=" not in part]
    name = bare[0] if bare else "info"
    return LEVELS.get(name, name)


def _json_format(value: object) -> object:
    return FORMATS.get(str(value).strip().lower(), value)


def _digest(value: object) -> object:
    if value and not FORM.fullmatch(str(value)):
        raise ValueError("a digest is sha256: and 64 hexadecimal digits, as `reranker-runtime verify DIR` prints it")
    return value


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


ADDRESS: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(:(?P<port>[^:]*))?")
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, AllowInfNan(False)]  # /v1/metadata tells them, and JSON has no infinity


class Settings(BaseModel):
    """What `reranker-runtime serve` can be told. Names in `Env` are the variables, oldest generation last."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_path: Annotated[Path | None, Env(("NIM_MODEL_PATH", "NIM_ENGINE_MODEL_PATH"))] = Field(
        None, description="The model directory: config.json, tokenizer.json and *.safetensors. Required."
    )
    served_names: Annotated[tuple[str, ...], BeforeValidator(_names), Env(("NIM_SERVED_MODEL_NAME",))] = Field(
        (), description="Names that clients may ask for, separated by commas; the first is the one reported."
    )
    model_name: Annotated[str, Env(("NIM_MODEL_NAME", "NIM_ENGINE_MODEL_NAME"))] = Field(
        "", description="The name where no served name is given; without either it is the directory's name."
    )
    host: Annotated[str, Env(("NIM_BIND_ADDR#host", "NIM_SERVER_BIND_ADDR#host"))] = Field(
        "0.0.0.0",  # a pod's own address is not known beforehand  # nosec B104
        description="The address to listen on, as HOST or HOST:PORT.",
    )
    port: Annotated[
        Port, Env(("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "NIM_BIND_ADDR#port", "NIM_SERVER_BIND_ADDR#port"))
    ] = Field(8000, description="The API port.")
    internal_port: Annotated[int, Env(("RERANKER_INTERNAL_PORT",))] = Field(
        8002, ge=0, le=65535, description="Health and metrics over plain HTTP, for probes and monitoring; 0 is off."
    )
    tls_cert: Annotated[Path | None, Env(("NIM_TLS_CERT_PATH",))] = Field(
        None, description="PEM certificate chain for the API port; needs the key too."
    )
    tls_key: Annotated[Path | None, Env(("NIM_TLS_KEY_PATH",))] = Field(None, description="PEM key of the certificate.")
    tls_client_ca: Annotated[Path | None, Env(("RERANKER_TLS_CLIENT_CA_PATH",))] = Field(
        None, description="PEM certificates of which a client of the API port must hold one; needs TLS."
    )
    api_keys_file: Annotated[Path | None, Env(("RERANKER_API_KEYS_FILE",))] = Field(
        None, description="Keys that clients must send, one a line: the client's name and its key, or the key alone."
    )
    api_keys_dir: Annotated[Path | None, Env(("RERANKER_API_KEYS_DIR",))] = Field(
        None, description="The same as a mounted Secret: a file's name is the client's, each of its lines a key."
    )
    public_paths: Annotated[tuple[str, ...] | None, BeforeValidator(_names), Env(("RERANKER_PUBLIC_PATHS",))] = Field(
        None,
        description="Paths that need no key, by comma; without it, health, the description of the API and the pages.",
    )
    tokens_per_minute: Annotated[int | None, Env(("RERANKER_TOKENS_PER_MINUTE",))] = Field(
        None, ge=1, description="Tokens that each client may have ranked in a minute; more is answered 429. Needs keys."
    )
    precision: Annotated[Precision, BeforeValidator(_precision), Env(("NIM_PRECISION",))] = Field(
        Precision.AUTO,
        description="auto takes what the hardware is good at: bf16 where it is native, else fp16 or fp32.",
    )
    device: Annotated[Device, Env(("RERANKER_DEVICE",))] = Field(
        Device.AUTO, description="auto takes the GPU where there is one."
    )
    max_tokens: Annotated[int | None, Env(("NIM_PIPELINE_MAX_SEQ_LEN",))] = Field(
        None, ge=1, description="Tokens of one sequence, special tokens included; at most the model's own limit."
    )
    max_rows: Annotated[int | None, Env(("NIM_PIPELINE_MAX_BATCH_SIZE",))] = Field(
        None, ge=1, description="Sequences scored at once; without it only the token budget bounds a batch."
    )
    batch_tokens: Annotated[int | None, Env(("RERANKER_BATCH_TOKENS",))] = Field(
        None, ge=1, le=1_048_576, description="Tokens scored at once; without it, what suits the device."
    )
    workers: Annotated[int | None, Env(("RERANKER_WORKERS",))] = Field(
        None, ge=1, le=1024, description="Batches scored side by side; without it, one a core, or two a GPU."
    )
    instruction: Annotated[str, Env(("RERANKER_INSTRUCTION",))] = Field(
        "", max_length=10_000, description="What ranking is for, for models that are told (Qwen3, mxbai v2)."
    )
    tokenizers: Annotated[int, Env(("NIM_NUM_TOKENIZERS",))] = Field(
        2, ge=1, le=64, description="Requests tokenised at the same time."
    )
    model_digest: Annotated[str, BeforeValidator(_digest), Env(("RERANKER_MODEL_DIGEST",))] = Field(
        "", description="Refuse to serve any other weights."
    )
    max_passages: Annotated[int, Env(("RERANKER_MAX_PASSAGES",))] = Field(
        512, ge=1, le=MOST_PASSAGES, description="Passages in one request."
    )
    max_body_bytes: Annotated[int, Env(("RERANKER_MAX_BODY_BYTES",))] = Field(
        67_108_864, ge=1024, description="Bytes of one request's body; more is answered 413."
    )
    split_large_requests: Annotated[bool, Env(("RERANKER_SPLIT_LARGE_REQUESTS",))] = Field(
        default=False, description="Rank a request of too many passages in parts instead of refusing it."
    )
    max_waiting_bytes: Annotated[int, Env(("RERANKER_MAX_WAITING_BYTES",))] = Field(
        1_073_741_824,
        ge=1024,
        description="Bytes of all bodies being received or ranked, and of answers not yet read; one more is 503.",
    )
    max_image_bytes: Annotated[int, Env(("RERANKER_MAX_IMAGE_BYTES",))] = Field(
        MOST_BYTES, ge=1024, le=MOST_BYTES, description="Bytes of one image's file."
    )
    max_image_pixels: Annotated[int, Env(("RERANKER_MAX_IMAGE_PIXELS",))] = Field(
        MOST_PIXELS, ge=1, le=MOST_PIXELS, description="Pixels of one image."
    )
    max_connections: Annotated[int, Env(("RERANKER_MAX_CONNECTIONS",))] = Field(
        1024, ge=1, description="Connections to the API port; one more is answered 503 and closed."
    )
    header_timeout: Annotated[Seconds, Env(("RERANKER_HEADER_TIMEOUT_SECONDS",))] = Field(
        10.0, gt=0, description="Seconds for a connection's TLS handshake, and for a request's headers, to arrive."
    )
    body_timeout: Annotated[Seconds, Env(("RERANKER_BODY_TIMEOUT_SECONDS",))] = Field(
        60.0, gt=0, description="Seconds for a request's body to arrive; then it is answered 408."
    )
    keep_alive: Annotated[Seconds, Env(("RERANKER_KEEP_ALIVE_SECONDS",))] = Field(
        75.0, gt=0, description="Seconds that a connection may stay idle between requests."
    )
    grace: Annotated[Seconds, Env(("RERANKER_GRACE_SECONDS",))] = Field(
        50.0, ge=0, description="Seconds that running work has to finish after SIGTERM; then it is answered 503."
    )
    max_queue: Annotated[int, Env(("NIM_MAX_QUEUE_SIZE", "NIM_SERVER_MAX_QUEUE_SIZE"))] = Field(
        1024, ge=1, description="Requests that may wait; one more is answered 503."
    )
    max_queue_tokens: Annotated[int, Env(("RERANKER_MAX_QUEUE_TOKENS",))] = Field(
        8_388_608, ge=1, description="Tokens that may wait; a request that would add more is answered 503."
    )
    max_queue_seconds: Annotated[Seconds, Env(("RERANKER_MAX_QUEUE_SECONDS",))] = Field(
        30.0, gt=0, description="A request that waited this long unstarted, or would by estimate, is answered 503."
    )
    request_timeout: Annotated[Seconds, Env(("NIM_REQUEST_TIMEOUT_S", "NIM_SERVER_REQUEST_TIMEOUT_S"))] = Field(
        120.0, gt=0, description="Seconds after which a request is given up and answered 504."
    )
    strict_json: Annotated[bool, Env(("RERANKER_STRICT_JSON",))] = Field(
        default=False, description="Refuse unknown fields with 400, as NIM 2.x does."
    )
    playground: Annotated[bool, Env(("RERANKER_PLAYGROUND",))] = Field(
        default=False, description="Serve a page at / where people try rankings."
    )
    otel: Annotated[bool, Env(("NIM_ENABLE_OTEL",))] = Field(
        default=False, description="Send OpenTelemetry traces as the OTEL_* variables say, over HTTP."
    )
    revision: Annotated[str, Env(("RERANKER_REVISION",))] = Field(
        "", pattern=r"^[\x21-\x7e]*$", max_length=253, description="Sent back as X-Reranker-Revision."
    )
    log_level: Annotated[LogLevel, BeforeValidator(_level), Env(("NIM_LOG_LEVEL", "RUST_LOG"))] = Field(
        LogLevel.INFO, description="debug, info, warning or error."
    )
    json_logs: Annotated[bool, BeforeValidator(_json_format), Env(("NIM_JSONL_LOGGING", "LOG_FORMAT"))] = Field(
        default=False, description="Log JSON, one object a line."
    )
    log_texts: Annotated[bool, Env(("RERANKER_LOG_TEXTS",))] = Field(
        default=False, description="For debugging only: log queries and passages. They may be confidential."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("NIM_TLS_CERT_PATH and NIM_TLS_KEY_PATH belong together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError(
                "RERANKER_TLS_CLIENT_CA_PATH asks clients for certificates, which needs TLS: "
                "give NIM_TLS_CERT_PATH and NIM_TLS_KEY_PATH too"
            )
        if self.tokens_per_minute is not None and not self.keyed:
            raise ValueError(
                "RERANKER_TOKENS_PER_MINUTE limits each client, and clients are told apart by their keys: "
                "give RERANKER_API_KEYS_FILE or RERANKER_API_KEYS_DIR too"
            )
        if self.port == self.internal_port:
            raise ValueError(
                f"NIM_HTTP_API_PORT and RERANKER_INTERNAL_PORT are both {self.port}: give them different ports"
            )
        return self

    @property
    def keyed(self) -> bool:
        """Whether clients must send a key."""
        return self.api_keys_file is not None or self.api_keys_dir is not None

    def require_model(self) -> Path:
        """The model directory, or the error that says how to name one."""
        if self.model_path is None:
            raise SettingsError("no model directory: set NIM_MODEL_PATH, or give --model DIRECTORY")
        return self.model_path

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may ask for; never empty."""
        if self.served_names or self.model_name:
            return self.served_names or (self.model_name,)
        path = self.require_model()
        return (path.name or path.resolve().name or "model",)


IGNORED: Final = {
    "NIM_CACHE_PATH": "nothing is cached on disk",
    "NIM_MODEL_DOWNLOAD_PROVIDER": "nothing is downloaded",
}
"""NIM's variables that are understood and do nothing here."""


def read_settings(environ: Mapping[str, str], **flags: Any) -> Settings:
    """Settings from the environment, then flags (None: not given). Raises `SettingsError` naming the variable."""
    _check_text(environ, flags)
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        given = {variable: _validate(field, variable, raw, environ) for variable, raw in _given(field, environ)}
        if len(set(map(repr, given.values()))) > 1:
            listed = " and ".join(_shown(variable, environ) for variable in given)
            raise SettingsError(f"{listed} mean the same setting and disagree: keep one of them")
        if given:
            values[name] = next(iter(given.values()))
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        culprit = Settings.model_fields.get(str(first["loc"][0])) if first["loc"] else None
        where = f"{_variables(culprit)[0].partition('#')[0]}: " if culprit else ""
        raise SettingsError(where + first["msg"].removeprefix("Value error, ")) from None


def _check_text(environ: Mapping[str, str], flags: Mapping[str, Any]) -> None:
    # Python smuggles bytes that are not UTF-8 through as surrogates, which no JSON answer can carry.
    ours = {variable.split("#")[0] for field in Settings.model_fields.values() for variable in _variables(field)}
    given = {name: environ[name] for name in ours if name in environ}
    for name, value in (given | {f"--{key.replace('_', '-')}": str(flag) for key, flag in flags.items()}).items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{name}={value!a} cannot be honoured: it is not UTF-8 text") from None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables with our prefixes that mean nothing here: a slip of the pen, or a NIM feature this runtime lacks."""
    known = set(IGNORED) | {
        variable.split("#")[0] for field in Settings.model_fields.values() for variable in _variables(field)
    }
    return sorted(
        name
        for name, value in environ.items()
        if name.startswith(("NIM_", "RERANKER_")) and name not in known and not _is_service_link(name, value)
    )


def _variables(field: FieldInfo) -> tuple[str, ...]:
    return next((item.names for item in field.metadata if isinstance(item, Env)), ())


def _is_service_link(name: str, value: str) -> bool:
    # Kubernetes gives every container NAME_PORT=tcp://..., NAME_SERVICE_HOST=... for each Service of the namespace;
    # a Service called reranker-internal would otherwise become our RERANKER_INTERNAL_PORT.
    return value.startswith(("tcp://", "udp://", "sctp://")) or re.search(
        r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$", name
    ) is not None  # fmt: skip


def _given(field: FieldInfo, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable in _variables(field):
        name, _, half = variable.partition("#")
        raw = environ.get(name, "").strip()
        if half and raw:
            parts = ADDRESS.fullmatch(raw)  # none: an IPv6 address without brackets, hence without a port
            raw = (parts[half] or "").strip("[]") if parts else (raw if half == "host" else "")
        if raw and not _is_service_link(name, raw):  # an empty variable is one that was not set
            yield variable, raw


def _validate(field: FieldInfo, variable: str, raw: str, environ: Mapping[str, str]) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", Annotated[field.annotation, *field.metadata]))
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{_shown(variable, environ)} cannot be honoured: {message}. {field.description}") from None


def _shown(variable: str, environ: Mapping[str, str]) -> str:
    name = variable.partition("#")[0]
    return f"{name}={environ[name] if environ[name].isprintable() else repr(environ[name])}"
