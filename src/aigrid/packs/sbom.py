"""What software a pack was made with: a bill of materials in CycloneDX 1.6 JSON."""

import re
import sys
import uuid
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import msgspec

from aigrid import __version__
from aigrid.packs.manifest import Manifest

SPEC = "1.6"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_NAMESPACE = uuid.UUID("6f0f9a5e-7a52-5d0a-9a37-0f6b8f2c1d11")


def used() -> list[str]:
    """Return the distributions of which this process has imported something."""
    providers = metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in sys.modules}
    return sorted({_normal(name) for top in tops for name in providers.get(top, [])})


def document(manifest: Manifest, distributions: Iterable[str]) -> bytes:
    """Return the bill of materials of a pack made with `distributions`: the same for the same, whenever it is made.

    What is not installed is listed without a version. The base model and the data are listed with their digests.
    """
    libraries = [_library(name) for name in sorted({_normal(name) for name in distributions})]
    others = []
    if base := manifest.base:
        others.append(_hashed("machine-learning-model", base.name, base.digest) | {"description": base.source})
    for data in manifest.data:
        licences = {"licenses": [_licence(data.licence)]} if data.licence else {}
        others.append(_hashed("data", data.name, data.digest) | licences)
    components = [*libraries, *others]
    own = {"type": "machine-learning-model", "bom-ref": "pack", "name": manifest.name, "version": manifest.version}
    body: dict[str, Any] = {
        "metadata": {
            "timestamp": manifest.created,
            "tools": {"components": [{"type": "application", "name": "aigrid", "version": __version__}]},
            "component": own,
        },
        "components": components,
        "dependencies": [{"ref": "pack", "dependsOn": [component["bom-ref"] for component in components]}],
    }
    serial = uuid.uuid5(_NAMESPACE, msgspec.json.encode(body, order="sorted").decode())
    head = {"bomFormat": "CycloneDX", "specVersion": SPEC, "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return msgspec.json.format(msgspec.json.encode(head | body), indent=1)


def _library(name: str) -> dict[str, Any]:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return {"type": "library", "bom-ref": f"pkg:pypi/{name}", "name": name, "purl": f"pkg:pypi/{name}"}
    version = about["Version"]
    purl = f"pkg:pypi/{name}@{version}"
    found = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    said = next((about[field] for field in ("License-Expression", "License") if field in about), "")
    licence = said.strip().split("\n")[0][:100]
    return found | ({"licenses": [_licence(licence)]} if licence else {})


def _licence(text: str) -> dict[str, Any]:
    return {"expression": text} if _SPDX.fullmatch(text) and " " in text else {"license": {"name": text}}


def _hashed(kind: str, name: str, digest: str) -> dict[str, Any]:
    content = digest.removeprefix("sha256:")
    found = {"type": kind, "bom-ref": f"{kind}:{name}:{content[:12]}", "name": name}
    return found | {"hashes": [{"alg": "SHA-256", "content": content}]}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
