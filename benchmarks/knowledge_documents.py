"""A folder of 1,000 real documents: HTML, PDF, Markdown and text from Debian's documentation packages."""

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from aigrid.core.config import cache
from benchmarks.common import log

PACKAGES = (
    "bash-doc", "debian-faq", "debian-policy", "debian-reference-en", "debmake-doc", "developers-reference", "eslint",
    "git-doc", "gnuplot-doc", "maint-guide", "nodejs-doc", "npm", "python3.11-doc", "zsh-doc",
)  # fmt: skip
QUOTAS = {"pdf": 1000, "md": 1000, "txt": 300, "html": 1000}
"""At most so many of each format, in this order, until there are `DOCUMENTS`: all PDF and Markdown there is."""

DOCUMENTS = 1000
LEAST_BYTES, MOST_BYTES = 200, 4 << 20

QUESTIONS = (
    "How do I revert a single file to an earlier commit?",
    "What is the difference between Depends and Recommends?",
    "How do I install a package from a specific release?",
    "How can a shell script trap a signal?",
    "What does the walrus operator do?",
    "How do I write a watch file for uscan?",
    "How are maintainer scripts called on upgrade?",
    "How do I plot a surface with contour lines?",
    "How do I read a file line by line asynchronously?",
    "What happens to zombie processes?",
    "How do I declare a dataclass field with a default factory?",
    "Which globbing qualifiers select only directories?",
    "How do I publish a scoped package?",
    "How is a non-maintainer upload versioned?",
    "How do I squash commits while rebasing?",
    "What is the epoch in a version number?",
    "How do I set the system locale?",
    "How can I pin a package to a release?",
    "How do I pass environment variables to a child process?",
    "How do I format a date in Python?",
)


def documents(folder: Path, many: int = DOCUMENTS) -> dict[str, list[Path]]:
    """Fill `folder` with documents, by format; the packages are fetched once, with apt, and only unpacked."""
    unpacked = _packages(cache() / "bench" / "debian-documents")
    found: dict[str, list[Path]] = {name: [] for name in QUOTAS}
    seen: set[str] = set()
    for path in sorted(unpacked.rglob("*"), key=lambda path: _key(path.relative_to(unpacked))):
        kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
        if kind in found and path.is_file() and not path.is_symlink():
            found[kind].append(path)
    chosen: dict[str, list[Path]] = {name: [] for name in QUOTAS}
    left = many
    for kind, most in QUOTAS.items():
        for data in _contents(found[kind], seen):
            if len(chosen[kind]) >= most or not left:
                break
            place = folder / f"{kind}-{len(chosen[kind]):04}.{kind}"
            place.write_bytes(data)
            chosen[kind].append(place)
            left -= 1
    return chosen


def _contents(paths: list[Path], seen: set[str]) -> Iterator[bytes]:
    """Yield what is in files, unpacked, of a usual size, nothing twice."""
    for path in paths:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        if LEAST_BYTES <= len(data) <= MOST_BYTES and name not in seen:
            seen.add(name)
            yield data


def _key(path: Path) -> str:
    """Mix files of all packages, the same way each time."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _packages(folder: Path) -> Path:
    """Return the folder with all packages unpacked."""
    done = folder / "done"
    wanted = " ".join(PACKAGES)
    if done.exists() and done.read_text() == wanted:
        return folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log(f"fetching {len(PACKAGES)} documentation packages")
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "files"], check=True)
    done.write_text(wanted)
    return folder / "files"
