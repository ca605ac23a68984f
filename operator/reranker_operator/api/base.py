"""What every API type shares: camelCase names, no unknown fields, and rules that hold on the server and offline.

A rule is written once, as CEL for the API server and as the same predicate in Python, so that
`reranker-operator render` refuses offline what `kubectl apply` would refuse, in the same words. A test applies good and
bad manifests to both and compares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_before_validator_function

from reranker_operator.api.passthrough import Unknown, pod_schemas, problems

UNKNOWN = "unknown_in_pod_value"
"""Type of the error of a value for pods that only a newer version can know."""


@dataclass(frozen=True)
class Rule:
    """One sentence about a type that a field's own schema cannot say."""

    cel: str
    message: str
    holds: Callable[[Any], bool]


class ApiType(BaseModel):
    """Base of every type in the resource."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        if cls.rules:
            schema["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in cls.rules]
        return schema


@dataclass(frozen=True)
class PodValue:
    """Marks a value that is handed on to pods as it is; `kind` names its schema in pod_schema.json."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Any:
            found = list(problems(value, pod_schemas()[self.kind]))
            if found and all(isinstance(each, Unknown) for each in found):
                raise PydanticCustomError(UNKNOWN, "{words}", {"words": "; ".join(found)})
            if found:
                raise ValueError("; ".join(found))
            return value

        return no_info_before_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"x-pod-kind": self.kind}


def keyed_by(*names: str) -> tuple[AfterValidator, dict[str, Any]]:
    """A list whose entries differ in the fields `names`: the validator, and what the schema says of it."""

    def key(entry: Any) -> str:
        return "/".join(str(entry.get(name) if isinstance(entry, dict) else getattr(entry, name)) for name in names)

    def check(entries: list[Any]) -> list[Any]:
        seen: set[str] = set()
        for entry in entries:
            if key(entry) in seen:
                raise ValueError(f"two entries have the same {' and '.join(names)} {key(entry)}: keep one of them")
            seen.add(key(entry))
        return entries

    schema = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(names)}
    return AfterValidator(check), schema
