"""Pack: the worker, its evidence, and where it all came from, in one signed pack; the same line gives the same pack."""

from pathlib import Path
from typing import Any

import msgspec

from aigrid import packs
from aigrid.factory import standing
from aigrid.factory.base import Job
from aigrid.factory.evaluate import Evidence
from aigrid.factory.ladder.open import about
from aigrid.packs import Base, Data, Figure, Manifest

CODE = ("aigrid.packs",)


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What a pack says of itself. Its version follows from what is in it, unless given."""

    version: str = ""
    title: str = ""
    licence: str = ""


def run(job: Job, settings: Settings) -> None:
    """Write the pack into `pack/`, signed with this installation's key."""
    worker = job.input("train") / "candidate"
    version = settings.version or f"0.{job.seed}.0-{job.about['digests']['train'][:12]}"
    evidence = examined(job)
    proof = msgspec.json.decode((evidence / "evidence.json").read_bytes(), type=Evidence) if evidence else None
    ladder = job.input("train") / "ladder.json"
    card = job.work / "README.md"
    card.write_text(_card(job, settings, version, proof))
    manifest = Manifest(
        name=job.about["line"],
        version=version,
        kind="guard" if "guard" in job.about["line"] else "model",
        created=f"{job.about['date']}T00:00:00Z",
        title=settings.title or job.about["line"],
        summary=job.about["about"],
        licence=settings.licence,
        base=_base(worker),
        runtime={
            "engine": "openvino" if (worker / "model.gguf").is_file() and about(worker).kind == "lora" else "candidate",
            "worker": job.about["digests"]["train"],
            **({"tool": tool} if (tool := about(worker).tool) else {}),
        },
        data=tuple(
            Data(name, f"sha256:{each['digest']}", each.get("licence", "")) for name, each in job.about["data"].items()
        ),
        evidence=tuple(_figures(proof)),
    )
    files = {standing.WORKER: worker, "card": card}
    files |= {"evidence/evidence.json": evidence / "evidence.json"} if evidence else {}
    files |= {"evidence/ladder.json": ladder} if ladder.is_file() else {}
    if guard := job.inputs.get("guard"):
        files |= {"guard/model.npz": guard / "model.npz", "evidence/guard.json": guard / "report.json"}
    digest = packs.build(manifest, files, job.out / "pack")
    packs.sign(job.out / "pack")
    (job.out / "pack.json").write_bytes(msgspec.json.encode({"name": manifest.name, "version": version}))
    job.say(version=version, digest=digest, bytes=packs.open(job.out / "pack").manifest.size)


def examined(job: Job) -> Path | None:
    """Return the folder of the line's evidence: the stage `evaluate`'s, or that of a `train` that examines by itself."""
    folders = [job.inputs[name] for name in ("evaluate", "train") if name in job.inputs]
    return next((folder for folder in folders if (folder / "evidence.json").is_file()), None)


def _base(worker: Path) -> Base | None:
    file = worker / "base.json"
    return msgspec.json.decode(file.read_bytes(), type=Base) if file.is_file() else None


def _figures(proof: Evidence | None) -> "list[Figure]":
    if proof is None:
        return []
    best = max((each.score.value for each in proof.against.values()), default=None)
    one = proof.score
    return [
        Figure(proof.metric, one.value, one.low, one.high, one.n, baseline=best),
        Figure("declined", proof.declined.value, proof.declined.low, proof.declined.high, one.n),
    ]


def _card(job: Job, settings: Settings, version: str, proof: Evidence | None) -> str:
    """Return a model card with Hugging Face's front matter."""
    front: dict[str, Any] = {"library_name": "aigrid", "tags": ["aigrid"], "model_name": job.about["line"]}
    if settings.licence:
        front["license"] = settings.licence
    head = "\n".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in front.items())
    lines = [f"---\n{head}\n---\n", f"# {settings.title or job.about['line']} {version}\n", job.about["about"], ""]
    if proof is not None:
        lines += ["## Evidence\n", f"{proof.metric} on rows it has never seen: {proof.score}.\n"]
        lines += ["| compared with | its score | gain (95 %) | p |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {each.score} | {each.gain.difference:+.1%} ({each.gain.low:+.1%} to {each.gain.high:+.1%})"
            f" | {each.gain.p:.2g} |"
            for name, each in proof.against.items()
        ]
        lines.append("")
    lines += ["## Data\n", "| data | licence | source | SHA-256 |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {each.get('licence', '')} | {each.get('source', '')} | `{each['digest'][:16]}…` |"
        for name, each in job.about["data"].items()
    ]
    return "\n".join(lines) + "\n"
