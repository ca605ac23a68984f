"""What looks like a credential in a text, by its shape or by the name before it, whether anybody knows of it or not.

A log may hold a megabyte without a space, so nothing here may look twice from each place: repetitions are bounded, or
start only where the character before could not have been part of them.
"""

import re
from collections.abc import Collection, Iterator

from reranker_operator import contract

REDACTED = "[redacted]"
COMMON = frozenset({"true", "false", "none", "null", "auto", "default"})
"""Settings that only their names make secret; without these words a report says nothing."""

_SECRET_NAME = re.compile(
    r"KEY|TOKEN(?!IZ)|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|AUTHORIZATION|(?:^|[_-])(?:PASS|PAT|AUTH)$|[_-]PWD$",
    re.IGNORECASE,
)
_LIMIT_NAME = re.compile(r"TOKENS", re.IGNORECASE)
_FIELD_NAME = re.compile(
    r"(?:password|passwd|passphrase|token|(?:api|access|secret|private)[_-]?key|client[_-]?secret)$", re.IGNORECASE
)
"""Names that are not in capitals. `key` and `secret` alone are Kubernetes' words for where a secret is."""
_OPENING = "<[{("
_PROSE = re.compile(r"token|[a-z0-9]+(?:-[a-z0-9]+)+")
"""Before a colon: `failed to fetch token: denied`, or an object's name, as in `hub-token: not found`."""

_NAME = re.compile(
    r"(?<![\w-])(?:"
    r"(?P<flag>--[A-Za-z][\w-]{0,100})(?:=|[ \t]{1,3}(?!-)|[\\\"']{1,4},[ \t]{0,3}(?![\\\"']{1,4}-))"
    r"|-?(?P<name>[A-Za-z_][\w-]{0,100})(?P<quote>[\\\"']{0,4})(?P<sign>=|[ \t]{1,3}=[ \t]{1,3}|:[ \t]{0,3})"
    r")"
)
"""A flag, or a name with what assigns to it: `A=`, `A = `, `A: `, `"a": `."""
_VALUE = re.compile(r"b?(?P<mark>\\{0,3}[\"'])(?P<quoted>.*?)(?:(?<!\\)(?P=mark)|$)|(?P<plain>[^\s\"']+)", re.MULTILINE)
"""Up to the quote that ends it; without quotes, up to a space."""

_SCHEME = r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://"
_NO_PORT = r"(?!\d{1,5}/)"  # http://host:80/@scope/package has no password
URL_PASSWORD = re.compile(
    rf"(?:{_SCHEME}|(?i:proxy)=(?!{_SCHEME}))[^\s/:@\"'<>]{{0,256}}:([^\s/\"'<>]{{1,2000}}|{_NO_PORT}[^\s\"'<>@]{{1,256}})@",
)
_BEFORE_HEADER = r"(?:[ \t\"'\\(<{]|\[(?!redacted\])|\]string\{|b(?=[\"']))*"
"""How Go, Python and JSON write what stands between a header's name and its value."""
_HEADER_VALUE = r"(?:\[redacted\]|[^\s\"'\\,}\])>]+)"
_PRIVATE = r"([A-Z ]{0,40})PRIVATE KEY-----"
_SHAPES = (
    (re.compile(rf"-----BEGIN {_PRIVATE}.*?(-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    # The end of a log may begin inside of one.
    (re.compile(rf"(?<![\w+/=\\\s])[\w+/=\\\s]*-----END {_PRIVATE}"), REDACTED),
    (re.compile(rf"({_SCHEME})(?:[^\s/\"'<>]+|[^\s/:@\"'<>]*:{_NO_PORT}[^\s\"'<>]{{1,256}})@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            rf"(?i)(proxy[\"']?[=:][ \t]?[\"']?)(?!{_SCHEME})[^\s\"':@]{{1,256}}:[^\s\"'@]{{1,256}}@(?!sha256:)"
        ),
        rf"\1{REDACTED}@",
    ),
    (
        re.compile(
            rf"(?i)(authorization[\"'\\]*(?:[ \t]*[:=]|(?<=[\"']),){_BEFORE_HEADER})"
            r"(?:[a-z][\w-]*[\"']?[ \t]+[\"']?)?" + _HEADER_VALUE  # a scheme, whatever its name
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(rf"(?i)(x-api-key[\"'\\]*(?:[ \t]*[:=]|(?<=[\"']),){_BEFORE_HEADER}){_HEADER_VALUE}"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # Of base64, not of `basic authentication`: a digit, padding, or a capital inside of a word.
    (re.compile(r"\b([Bb]asic)[ \t]+(?=[A-Za-z+/]*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9+/=]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]+"), REDACTED),  # a JSON web token
    (re.compile(r"\b(?:hf_|gh[opsur]_|github_pat_)[A-Za-z0-9_]{16,}|\bnvapi-[A-Za-z0-9_-]{6,}"), REDACTED),
)


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable of this name holds a secret. The operator's own hold none: they say where to find them."""
    if name in contract.OPERATOR_VARIABLES or name in contract.ALIASES or value.lower() in COMMON:
        return False
    # RERANKER_BATCH_TOKENS=8192 is a limit, and limits are half of what a report is read for.
    return bool(_SECRET_NAME.search(name)) and not (value.isdigit() and _LIMIT_NAME.search(name))


def is_secret_field(name: str, value: str) -> bool:
    """The same of a field or a parameter: in capitals it is a variable, otherwise only sure names are taken."""
    if name.isupper() or name.startswith("--"):
        return looks_secret(name, value)
    # A token such as <s> or [SEP] is a model's, and {name: hub} says where a secret is.
    return bool(_FIELD_NAME.search(name)) and value.lower() not in COMMON and value[0] not in _OPENING


def follows_flag(before: object, item: object) -> bool:
    """Whether an argument is the secret that the one before announces: `["--api-key", "abc"]`."""
    if not isinstance(before, str) or not isinstance(item, str) or not item or item.startswith("-"):
        return False
    return before.startswith("--") and "=" not in before and looks_secret(before, item)


def assigned(text: str, variables: Collection[str] = ()) -> Iterator[tuple[int, int]]:
    """Where in a text the values of names that say so stand, and of `variables`."""
    end = 0
    for match in _NAME.finditer(text):
        name = match["flag"] or match["name"]
        # The name first: to look for the end of each value would take hours in a text that is full of names.
        first = text[match.end() : match.end() + 1]
        hint = first if first in _OPENING else "x"
        if match.start() < end or not (name in variables or (first and is_secret_field(name, hint))):
            continue
        value = _VALUE.match(text, match.end())
        if value is None:
            continue
        word = value["quoted"] if value["plain"] is None else value["plain"].rstrip(",;)}\\")
        prose = not match["quote"] and (match["sign"] or "").startswith(":") and _PROSE.fullmatch(name)
        if word and not prose and (name in variables or is_secret_field(name, word)):
            start = value.start("quoted" if value["plain"] is None else "plain")
            end = start + len(word)
            yield start, end


def without_credentials(text: str, variables: Collection[str]) -> str:
    """The text without what looks like a credential."""
    for pattern, instead in _SHAPES:
        text = pattern.sub(instead, text)
    return without(text, assigned(text, variables))


def without(text: str, places: Iterator[tuple[int, int]]) -> str:
    """The text without what stands at `places`."""
    parts, kept = [], 0
    for start, end in places:
        parts += [text[kept:start], REDACTED]
        kept = end
    return "".join([*parts, text[kept:]])
