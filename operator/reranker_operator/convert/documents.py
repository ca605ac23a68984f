"""Files of manifests: which documents are NIMServices, which belong to one, and which are somebody else's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import yaml

from reranker_operator.api import KIND
from reranker_operator.api.resource import API_VERSION
from reranker_operator.convert.model import Wishes
from reranker_operator.convert.reader import ConvertError, Fields, Json, Notes, read_namespace
from reranker_operator.convert.service import checked, convert_service, convert_spec, is_reranker
from reranker_operator.convert.storage import Caches
from reranker_operator.manifests import Loader, too_large

GROUP, VERSION = "apps.nvidia.com", "v1alpha1"
__all__ = ["Converted", "Wishes", "convert"]


@dataclass(frozen=True)
class Document:
    """One object of a file."""

    place: str
    """`FILE: document 2`, and the item where it is in a List."""
    value: Any

    @property
    def kind(self) -> str | None:
        """Kind, of the group whose kinds are converted."""
        version = self.value.get("apiVersion") if isinstance(self.value, dict) else None
        known = isinstance(version, str) and version.partition("/")[0] == GROUP
        return self.value.get("kind") if known else None

    @property
    def name(self) -> str:
        """Kind and name, for people."""
        if not isinstance(self.value, dict):
            return "a document that is no object"
        name = _part(self.value, "metadata").get("name")
        return f"{self.value.get('kind') or 'an object of no kind'} {name or '(without a name)'}"

    @property
    def identity(self) -> tuple[Any, str]:
        """Namespace, and kind and name."""
        return _part(self.value, "metadata").get("namespace"), self.name

    @property
    def maker(self) -> tuple[Any, str] | None:
        """The identity of the NIMPipeline by which NVIDIA's operator made it."""
        owners = _part(self.value, "metadata").get("ownerReferences")
        for owner in owners if isinstance(owners, list) else ():
            if isinstance(owner, dict) and owner.get("kind") == "NIMPipeline":
                return self.identity[0], f"NIMPipeline {owner.get('name')}"
        return None


def _part(value: Any, name: str) -> Json:
    """A part of an object, where both are what they should be."""
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


@dataclass
class Converted:
    """What became of all documents."""

    services: list[Json] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    """Documents that were passed over, as they are; a NIMPipeline without its services that were converted."""
    told: list[str] = field(default_factory=list)
    """A line for each field that became nothing, or not quite the same."""
    passed: list[str] = field(default_factory=list)
    """A line for each document that was passed over."""
    errors: list[str] = field(default_factory=list)
    """A line for each document that cannot be converted."""
    read: set[str] = field(default_factory=set)
    """Paths of all fields that are known, below `NIMService`, `NIMCache` and `NIMPipeline`."""


def convert(files: list[tuple[str, BinaryIO]], wishes: Wishes) -> Converted:
    """Convert every NIMService, and every one in a NIMPipeline, that ranks."""
    result = Converted()
    documents: list[Document] = []
    for name, stream in files:
        try:
            documents += _documents(name, stream)
        except ConvertError as error:
            result.errors.append(str(error))
    caches, by_key = _read_caches([each for each in documents if each.kind == "NIMCache"], result)
    pipelines = [each.identity for each in documents if each.kind == "NIMPipeline"]
    for each in documents:
        if each.kind == "NIMService" and (maker := each.maker) in pipelines:
            result.passed.append(f"{each.place}: {each.name} passed over: {maker[1]} is there, which makes it")
            continue
        _convert(each, caches, wishes, result)
    told, result.told = result.told, []
    for key, (each, notes) in by_key.items():
        if key in caches.used:
            _note(each, notes, result)
        else:
            result.others.append(each.value)
            result.passed.append(f"{each.place}: {each.name} passed over: no service that is converted names it")
    result.told += told
    _check_names(result, wishes)
    return result


def _convert(document: Document, caches: Caches, wishes: Wishes, result: Converted) -> None:
    if document.kind == "NIMCache":
        return
    if document.kind not in ("NIMService", "NIMPipeline"):
        result.others.append(document.value)
        result.passed.append(f"{document.place}: {document.name} passed over: it is none of NVIDIA's NIM operator")
        return
    notes = Notes()
    try:
        _check_version(document.value["apiVersion"])
        if document.kind == "NIMPipeline":
            result.services += _pipeline(document, caches, wishes, notes, result)
        elif _wanted(document.value.get("spec"), document.name.partition(" ")[2], wishes):
            result.services.append(convert_service(Fields(document.value, "", notes), caches, wishes))
        else:
            result.others.append(document.value)
            result.passed.append(_no_reranker(document.place, document.name))
    except ConvertError as error:
        result.errors.append(f"{document.place}: {document.name}: {error}")
    _note(document, notes, result)


def _check_version(version: str) -> None:
    if version != f"{GROUP}/{VERSION}":
        raise ConvertError(f"apiVersion must be {GROUP}/{VERSION}, not {version}")


def _pipeline(document: Document, caches: Caches, wishes: Wishes, notes: Notes, result: Converted) -> list[Json]:
    """The rerankers of a NIMPipeline; its other services stay with it."""
    whole = Fields(document.value, "", notes)
    for each in ("apiVersion", "kind", "metadata", "status"):
        whole.raw(each)
    # Read apart from the rest: of a pipeline's metadata nothing is told but what is wrong with its namespace.
    namespace = read_namespace(Fields(document.value, "", Notes()).child("metadata"))
    spec = whole.child("spec")
    made: list[Json] = []
    kept: list[Any] = []
    for n, entry in enumerate(spec.entries("services")):
        service = Fields(entry, f"{spec.at('services')}[{n}]", notes)
        name, enabled = service.text("name"), service.flag("enabled")
        if name is None:
            raise ConvertError(f"{service.at('name')} is missing")
        given = service.raw("spec")
        if enabled is False or not _wanted(given, name, wishes):
            why = "is switched off (enabled: false)" if enabled is False else "does not look like a reranker"
            result.passed.append(f"{document.place}: {document.name}: {service.path} ({name}) passed over: it {why}")
            kept.append(entry)
            continue
        service.leave("dependencies", "start order and addresses of other services are theirs to know")
        converted = convert_spec(service.child("spec"), name, namespace, caches, wishes)
        service.finish()
        identity = {"name": name, **({"namespace": namespace} if namespace else {})}
        whole_service = {"apiVersion": API_VERSION, "kind": KIND, "metadata": identity, "spec": converted}
        made.append(checked(whole_service, service.path))
    if not made:
        result.passed.append(f"{document.place}: {document.name} passed over: none of its services is converted")
        result.others.append(document.value)
        return []
    whole.finish()
    if kept:
        result.others.append({**document.value, "spec": {**document.value["spec"], "services": kept}})
    return made


def _wanted(spec: Any, name: str, wishes: Wishes) -> bool:
    return name in wishes.services if wishes.services else is_reranker(spec)


def _no_reranker(place: str, name: str) -> str:
    return f"{place}: {name} passed over: it does not look like a reranker; --service NAME converts it all the same"


def _read_caches(
    documents: list[Document], result: Converted
) -> tuple[Caches, dict[tuple[str, str], tuple[Document, Notes]]]:
    """The NIMCaches, and by namespace and name what there is to tell of each, should a service use it."""
    caches, by_key = Caches(), {}
    for each in documents:
        notes = Notes()
        try:
            _check_version(each.value["apiVersion"])
            by_key[caches.add(Fields(each.value, "", notes))] = each, notes
        except ConvertError as error:
            result.errors.append(f"{each.place}: {each.name}: {error}")
    return caches, by_key


def _note(document: Document, notes: Notes, result: Converted) -> None:
    result.told += [f"{document.place}: {document.name}: {words}" for words in notes.told]
    result.read |= {f"{document.kind}.{path}" for path in notes.read}


def _check_names(result: Converted, wishes: Wishes) -> None:
    seen: set[tuple[str, str]] = set()
    for each in result.services:
        metadata = each["metadata"]
        key = metadata.get("namespace", ""), metadata["name"]
        if key in seen:
            result.errors.append(f"two services are called {metadata['name']}: rename one of them, or leave it out")
        seen.add(key)
    for name in wishes.services:
        if name not in {found for _namespace, found in seen} and not result.errors:
            result.errors.append(f"--service {name}: no NIMService of this name is among the manifests")


def _documents(name: str, stream: BinaryIO) -> Iterator[Document]:
    """Every object of a file, those in Lists one by one. Raises `ConvertError`."""
    number = 0
    try:
        for number, value in enumerate(yaml.load_all(stream, Loader=_Strict), start=1):
            if value is None:
                continue
            place = f"{name}: document {number}"
            if too_large(value):
                raise ConvertError(f"{place}: holds too much, or an alias of itself; split it")
            document = Document(place, value)
            if _is_list(document):
                for n, item in enumerate(value["items"]):
                    yield Document(f"{place}, items[{n}]", item)
            else:
                yield document
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        words = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConvertError(f"{name}: document {number + 1}: not YAML: {words}") from error


def _is_list(document: Document) -> bool:
    """Whether it is a List of any kinds, as kubectl prints it, or one of NVIDIA's, as the server answers with."""
    if not isinstance(document.value, dict) or not isinstance(document.value.get("items"), list):
        return False
    return document.value.get("kind") == "List" or str(document.kind).endswith("List")


class _Strict(Loader):
    """Refuses a key that is there twice, of which only the last would be seen; keeps dates as they are written."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._looked_at: set[yaml.Node] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what is merged (`<<`). Every mapping comes by here first, and has its own keys alone only then."""
        if node not in self._looked_at:
            self._looked_at.add(node)
            keys: set[str] = set()
            for key, _value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    words = f"the key {key.value} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, words, node.start_mark)
                keys |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
        super().flatten_mapping(node)


def _as_written(_loader: _Strict, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Strict.add_constructor("tag:yaml.org,2002:timestamp", _as_written)
