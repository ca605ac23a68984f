"""Makes a pod's volumes: for each a folder (or file) on the host, which is then bound into the containers.

Every failure here is a ConfigError: the pod stays in ContainerCreating with a FailedMount event, and it is tried again.
"""

from dataclasses import dataclass
from pathlib import Path

from localkube.api import Json
from localkube.environment import config_data, expand, field_value, quantity, resource_value, secret_data
from localkube.host import ConfigError, Host
from localkube.images import Image, Images
from localkube.mounts import Mount

_DEFAULT_MODE = 0o644
_TOKEN_SECONDS = 3600

Files = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Volume:
    """A volume that is ready to be mounted."""

    source: str
    read_only: bool = False
    memory_bytes: int | None = None
    """Size of a volume in memory, 0 where it has no limit; None for all others."""
    image: Image | None = None


async def make_volumes(host: Host, images: Images, pod: Json, folder: Path) -> dict[str, Volume]:
    """All volumes of a pod below `folder`. Raises ConfigError, ImageError."""
    result: dict[str, Volume] = {}
    for spec in pod["spec"].get("volumes", []):
        name = spec["name"]
        here = folder / "volumes" / name
        try:
            result[name] = await _make(host, images, pod, spec, here)
        except ConfigError as error:
            raise ConfigError(f'MountVolume.SetUp failed for volume "{name}": {error}') from None
    return result


async def _make(host: Host, images: Images, pod: Json, spec: Json, here: Path) -> Volume:
    if "hostPath" in spec:
        return Volume(host_path(spec["hostPath"]))
    if "persistentVolumeClaim" in spec:
        claim = spec["persistentVolumeClaim"]
        source = await host.claim_folder(pod["metadata"]["namespace"], claim["claimName"])
        return Volume(source, read_only=claim.get("readOnly", False))
    if "image" in spec:
        source = spec["image"]
        return Volume("", read_only=True, image=images.find(source["reference"], source.get("pullPolicy", "")))
    _make_folder(here, 0o1777 if "emptyDir" in spec else 0o755)
    if "emptyDir" in spec:
        empty = spec["emptyDir"] or {}
        limit = int(quantity(empty.get("sizeLimit", 0)))
        return Volume(str(here), memory_bytes=limit if empty.get("medium") == "Memory" else None)
    sources, mode = _sources(spec)
    files: Files = {}
    for kind, reference in sources:
        files |= await _files(host, pod, kind, reference, mode)
    for path, (content, bits) in files.items():
        target = here / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(content)
        target.chmod(bits)
    return Volume(str(here), read_only=True)


def _make_folder(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def _sources(spec: Json) -> tuple[list[tuple[str, Json]], int]:
    """The sources of a volume of files, and the mode that files have unless they say otherwise."""
    if "projected" in spec:
        projected = spec["projected"]
        entries = [(kind, source) for entry in projected.get("sources", []) for kind, source in entry.items()]
        return entries, projected.get("defaultMode", _DEFAULT_MODE)
    for kind in ("secret", "configMap", "downwardAPI"):
        if kind in spec:
            source = dict(spec[kind])
            if kind == "secret":
                source["name"] = source.pop("secretName")
            return [(kind, source)], source.get("defaultMode", _DEFAULT_MODE)
    raise ConfigError(f"this kubelet has no volumes of the kind {sorted(set(spec) - {'name'})}")


async def _files(host: Host, pod: Json, kind: str, source: Json, mode: int) -> Files:
    namespace = pod["metadata"]["namespace"]
    if kind == "serviceAccountToken":
        seconds = source.get("expirationSeconds", _TOKEN_SECONDS)
        token = await host.token(pod, source.get("audience", ""), seconds)
        return {source["path"]: (token.encode(), 0o600)}
    if kind == "downwardAPI":
        return {item["path"]: (_downward(pod, item).encode(), item.get("mode", mode)) for item in source["items"]}
    if kind == "secret":
        data = await secret_data(host, namespace, source)
    elif kind == "configMap":
        data = await config_data(host, namespace, source)
    else:
        raise ConfigError(f"this kubelet cannot project {kind}")
    if "items" not in source:
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in source["items"]:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise ConfigError(f"references non-existent {kind} key: {item['key']}")
    return files


def _downward(pod: Json, item: Json) -> str:
    if "fieldRef" in item:
        return field_value(pod, item["fieldRef"]["fieldPath"])
    reference = item["resourceFieldRef"]
    containers = {container["name"]: container for container in pod["spec"]["containers"]}
    return resource_value(containers[reference["containerName"]], reference)


def host_path(spec: Json) -> str:
    """The path of a hostPath volume, checked (or made) as its type says. Raises ConfigError."""
    path = Path(spec["path"])
    kind = spec.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch()
    checks = {
        "": path.exists,
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    if not kind and not path.exists():
        path.mkdir(parents=True)  # container engines do so where no type is given
    if not checks[kind]():
        meaning = {"Directory": "a directory", "File": "a file"}.get(kind, f"of the type {kind}")
        raise ConfigError(f"hostPath type check failed: {path} is not {meaning}")
    return str(path)


def container_mounts(container: Json, volumes: dict[str, Volume], image: Image, values: dict[str, str]) -> list[Mount]:
    """All mounts of a container: its image's files, then its volumes. Raises ConfigError."""
    mounts = [Mount(source, target, read_only=True) for target, source in image.files.items()]
    for entry in container.get("volumeMounts", []):
        volume = volumes.get(entry["name"])
        if volume is None:
            raise ConfigError(f'volumeMount "{entry["name"]}" has no volume')
        sub_path = expand(entry["subPathExpr"], values) if "subPathExpr" in entry else entry.get("subPath", "")
        if volume.image:
            mounts += _image_mounts(volume.image, entry["mountPath"], sub_path)
            continue
        read_only = volume.read_only or entry.get("readOnly", False)
        mounts.append(Mount(volume.source, entry["mountPath"], read_only, sub_path, not volume.read_only))
    return mounts


def _image_mounts(image: Image, target: str, sub_path: str) -> list[Mount]:
    """An image as a volume: those of its files that are below `sub_path`, read-only."""
    wanted = "/" + sub_path.strip("/")
    mounts: list[Mount] = []
    for path, source in image.files.items():
        if wanted in {path, "/"} or path.startswith(f"{wanted}/"):
            rest = path.removeprefix(wanted.rstrip("/"))
            mounts.append(Mount(source, target.rstrip("/") + rest, read_only=True))
        elif wanted.startswith(f"{path}/"):
            mounts.append(Mount(source, target, True, wanted.removeprefix(f"{path}/"), False))
    if not mounts:
        raise ConfigError(f'subPath "{sub_path}" is not in the image "{image.reference}"')
    return mounts
