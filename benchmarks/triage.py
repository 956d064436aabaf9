"""Vulnerability triage on a real lock file: does it find exactly what the advisories' ranges say, and how quickly.

The judge is written apart from what it judges: it reads the advisories with its own few lines and walks the events
of each range one by one, as the OSV schema's pseudocode does. It looks at three things: the blueprint's real lock
file; every package of the advisories at each version that an advisory names and just before and after it; and the
same pins as written by other tools. All real advisories are in the index each time.
"""

import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from benchmarks.common import ROOT, arguments, log, report, spread
from benchmarks.shared_data import shared

BLUEPRINT = ROOT / "blueprints" / "vulnerability-triage"
sys.path.insert(0, str(BLUEPRINT))

from triage.advisories import Index, load  # noqa: E402
from triage.decide import decide, findings, smallest_fix  # noqa: E402
from triage.lockfiles import read  # noqa: E402

LIMIT_S = 5.0
WARM_RUNS = 7
Pair = tuple[str, str, str]


@cache
def version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def real_advisories(archive: Path) -> Iterator[dict[str, Any]]:
    """Return the documents of an archive as they are."""
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.name.endswith(".yaml") and (file := opened.extractfile(member)):
                yield yaml.load(file.read(), Loader=yaml.CSafeLoader)


def affects(affected: dict[str, Any], at: Version) -> bool:
    """Walk the events: the OSV schema's `IncludedInVersions` or `IncludedInRanges`, word for word."""
    if any(version(listed) == at for listed in affected.get("versions") or []):
        return True
    for one in affected.get("ranges") or []:
        if one["type"] != "ECOSYSTEM":
            continue
        vulnerable = False
        for event in sorted(one["events"], key=lambda event: _place(next(iter(event.values())))):
            (kind, boundary), *_ = event.items()
            if kind == "introduced" and (boundary == "0" or at >= Version(boundary)):
                vulnerable = True
            elif (kind == "fixed" and at >= Version(boundary)) or (kind == "last_affected" and at > Version(boundary)):
                vulnerable = False
        if vulnerable:
            return True
    return not affected.get("ranges") and not affected.get("versions")


def _place(boundary: str) -> tuple[int, Version]:
    return (0, Version("0")) if boundary == "0" else (1, Version(boundary))


class Judge:
    """What the advisories say, package by package; those with a boundary outside PEP 440 are left to a person."""

    def __init__(self, archive: Path) -> None:
        self.by_package: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.unordered: set[str] = set()
        for document in real_advisories(archive):
            if document.get("withdrawn"):
                continue
            for affected in document["affected"]:
                boundaries = [
                    boundary
                    for one in affected.get("ranges") or []
                    if one["type"] == "ECOSYSTEM"
                    for event in one["events"]
                    for boundary in event.values()
                ]
                if any(boundary != "0" and version(boundary) is None for boundary in boundaries):
                    self.unordered.add(document["id"])
                else:
                    name = canonicalize_name(affected["package"]["name"])
                    self.by_package[name].append((document["id"], affected))

    def pairs(self, pins: Iterable[tuple[str, str]]) -> set[Pair]:
        """Return (package, version, advisory) for every pin that is affected."""
        found = set()
        for name, pinned in pins:
            at = version(pinned)
            assert at is not None
            found |= {(name, pinned, id_) for id_, affected in self.by_package[canonicalize_name(name)]
                      if affects(affected, at)}  # fmt: skip
        return found

    def versions(self, name: str) -> set[str]:
        """Return the versions of a package that its advisories name, and those just before and after each."""
        named = set()
        for _, affected in self.by_package[name]:
            named |= set(affected.get("versions") or [])
            for one in affected.get("ranges") or []:
                if one["type"] == "ECOSYSTEM":
                    named |= {boundary for event in one["events"] for boundary in event.values()}
        ordered = [parsed for text in named if (parsed := version(text)) is not None]
        near = {f"{one.public}.post1" for one in ordered if not (one.is_postrelease or one.is_devrelease)}
        near |= {f"{one.public}rc1" for one in ordered if not (one.is_prerelease or one.is_postrelease)}
        return {str(one) for one in ordered} | {text for text in near if version(text) is not None}


def scores(found: set[Pair], right: set[Pair]) -> dict[str, Any]:
    """Return precision and recall with the counts they come from."""
    both = len(found & right)
    return {
        "found": len(found),
        "right": len(right),
        "precision": both / len(found) if found else 1.0,
        "recall": both / len(right) if right else 1.0,
    }


def on_file(file: Path, index: Index) -> set[Pair]:
    return {
        (one.dependency.name, one.dependency.version or "", one.advisory.id)
        for one in findings(read(file), index)
        if one.decision.verdict == "affected"
    }


def everywhere(judge: Judge, index: Index) -> dict[str, Any]:
    """Every package at every version that matters to it: scores, and whether each fix is the smallest safe one."""
    pins = [(name, text) for name in sorted(judge.by_package) for text in sorted(judge.versions(name))]
    decided = {
        (name, text, one.id)
        for name, text in pins
        for one in index.of(name)
        if one.id not in judge.unordered and decide(one, text).verdict == "affected"
    }
    return {"packages": len(judge.by_package), "pins": len(pins), **scores(decided, judge.pairs(pins))}


def fixes(judge: Judge, index: Index, pins: list[tuple[str, str]]) -> dict[str, int]:
    """Count the drafted fixes, and those that an advisory affects or that a smaller named release would have beaten."""
    counts = {"drafted": 0, "unsafe": 0, "not_smallest": 0}
    for name, pinned in pins:
        fix = smallest_fix(index.of(name), pinned)
        if fix is None:
            continue
        counts["drafted"] += 1
        counts["unsafe"] += bool(judge.pairs([(name, fix)]))
        current, chosen = Version(pinned), Version(fix)
        between = {text for text in judge.versions(name) if not ("post" in text or "rc" in text)}
        smaller = [text for text in between if current < Version(text) < chosen and not Version(text).is_prerelease]
        counts["not_smallest"] += any(not judge.pairs([(name, text)]) for text in smaller)
    return counts


def as_other_tools(pins: list[tuple[str, str]], folder: Path) -> list[Path]:
    """Write the pins as poetry, uv, pipenv and PEP 751 write theirs."""
    block = "".join(f'[[package]]\nname = "{name}"\nversion = "{pinned}"\n\n' for name, pinned in pins)
    default = {name: {"hashes": [], "version": f"=={pinned}"} for name, pinned in pins}
    texts = {
        "poetry.lock": f"# This file is automatically @generated by Poetry\n\n{block}",
        "uv.lock": f'version = 1\nrequires-python = ">=3.9"\n\n{block}',
        "Pipfile.lock": json.dumps({"_meta": {}, "default": default, "develop": {}}, indent=4),
        "pylock.toml": 'lock-version = "1.0"\n\n' + block.replace("[[package]]", "[[packages]]"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def command_s(file: Path, archive: Path, cache: str) -> float:
    """Return how long the blueprint's one command takes, from start to exit."""
    command = [sys.executable, str(BLUEPRINT / "run.py"), str(file), "--advisories", str(archive), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, env={"XDG_CACHE_HOME": cache, "PATH": ""}, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    if done.returncode != 1:
        raise RuntimeError(f"the command ended with {done.returncode}; 1 was expected, for there is something to find")
    return seconds


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=BLUEPRINT / "data" / "requirements.txt", help="another lock file")
    parser.add_argument("--advisories", type=Path, help="another archive of OSV advisories in YAML (.tar.*)")
    options = parser.parse_args()
    archive = options.advisories or shared("tools/pypa_advisories_2024-10.tar.xz")
    judge = Judge(archive)
    with tempfile.TemporaryDirectory() as folder:
        log("timing the command, first without and then with what it keeps")
        cold = command_s(options.file, archive, folder)
        warm = [command_s(options.file, archive, folder) for _ in range(WARM_RUNS)]
        index = load(archive, Path(folder) / "aigrid" / "triage")
        pins = [(one.name, one.version) for one in read(options.file) if one.version]
        right = judge.pairs(pins)
        found = on_file(options.file, index)
        others = {file.name: on_file(file, index) for file in as_other_tools(pins, Path(folder))}
    log("every package at every version that matters")
    wide = everywhere(judge, index)
    drafted = fixes(judge, index, [pin for pin in pins if any(pair[:2] == pin for pair in right)])
    real = {"packages": len(pins), "affected_packages": len({pair[0] for pair in right}), **scores(found, right)}
    figures = {
        "advisories": index.files,
        "real_lock_file": real,
        "every_named_version": wide,
        "fixes": drafted,
        "left_to_a_person": len(judge.unordered),
        "first_run_s": round(cold, 3),
        "later_run_s": spread([round(seconds, 3) for seconds in warm]),
    }
    holds = {
        "the real lock file has 100 packages or more": len(pins) >= 100,
        "on the real lock file, precision and recall are 1.0": found == right and bool(right),
        "at every version that an advisory names, precision and recall are 1.0": wide["precision"]
        == wide["recall"]
        == 1.0,
        "the same pins in poetry.lock, uv.lock, Pipfile.lock and pylock.toml give the same findings": all(
            other == right for other in others.values()
        ),
        "every drafted fix is safe, and the smallest release named": not (drafted["unsafe"] + drafted["not_smallest"]),
        f"{LIMIT_S:g} s or less without a model, first run included": max(cold, *warm) <= LIMIT_S,
    }
    table = [
        {"what": f"precision, real lock file of {len(pins)} packages", "ours": real["precision"]},
        {"what": f"recall, same ({real['right']} findings in {real['affected_packages']} packages)",
         "ours": real["recall"]},
        {"what": f"precision, {wide['pins']:,} pins of {wide['packages']} packages", "ours": wide["precision"]},
        {"what": "recall, same", "ours": wide["recall"]},
        {"what": "first run, s", "ours": figures["first_run_s"]},
        {"what": "later runs, s (median)", "ours": statistics.median(warm)},
    ]  # fmt: skip
    report({"figures": figures, "table": table, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
