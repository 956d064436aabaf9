"""vulnerability-triage: names, versions and ranges decided as PEP 503, PEP 440 and OSV say; fixes that apply."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from triage.advisories import Advisory, BadAdvisory, Index, load, read
from triage.decide import decide, findings, smallest_fix
from triage.fix import draft
from triage.lockfiles import BadLockFile
from triage.lockfiles import read as read_lock
from triage.tools import draft_fix, explain_package, list_vulnerabilities
from triage.versions import Range, normal_name

from tests.blueprints.conftest import BLUEPRINTS

HERE = BLUEPRINTS / "vulnerability-triage"


def advisory(*events: tuple[str, str], versions: tuple[str, ...] = (), id: str = "X-1") -> Advisory:
    ranges = (Range(events),) if events else ()
    return Advisory(id, "shop", ranges=ranges, versions=versions)


REQUESTS = advisory(("introduced", "2.3.0"), ("fixed", "2.31.0"))
URLLIB3 = advisory(("introduced", "2.0.0"), ("fixed", "2.0.6"), ("introduced", "0"), ("fixed", "1.26.17"))
PY = advisory(("introduced", "0"), ("last_affected", "1.11.0"))


@pytest.mark.parametrize(
    ("case", "version", "verdict"),
    [
        (REQUESTS, "2.2.1", "unaffected"),
        (REQUESTS, "2.3.0", "affected"),
        (REQUESTS, "2.30.0", "affected"),
        (REQUESTS, "2.31.0rc1", "affected"),  # a release candidate comes before its release
        (REQUESTS, "2.31.0", "unaffected"),
        (REQUESTS, "2.31.0.post1", "unaffected"),
        (REQUESTS, "2.4", "affected"),  # 2.4 comes before 2.31: no order of letters
        (URLLIB3, "1.26.16", "affected"),
        (URLLIB3, "1.26.17", "unaffected"),
        (URLLIB3, "2.0.5", "affected"),  # events are in no order in the advisory
        (URLLIB3, "2.0.6", "unaffected"),
        (URLLIB3, "0.dev0", "affected"),  # introduced "0" is before every version
        (PY, "1.11.0", "affected"),
        (PY, "1.11.0+vendor.2", "affected"),  # a local build of an affected release
        (PY, "1.11.1", "unaffected"),
        (advisory(("introduced", "1.0")), "99", "affected"),
        (advisory(("introduced", "1"), ("fixed", "2"), ("introduced", "2"), ("fixed", "3")), "2", "affected"),
        (advisory(("introduced", "2"), ("fixed", "2")), "5", "unaffected"),  # an empty range
        (advisory(("introduced", "1"), ("limit", "2")), "1.5", "affected"),
        (advisory(("introduced", "1"), ("limit", "2")), "2.1", "unaffected"),
        (advisory(versions=("0.5",)), "0.5.0", "affected"),  # one release, two spellings
        (advisory(versions=("0.7.10p1",)), "0.7.10p1", "affected"),
        (advisory(versions=("0.5",)), "0.6", "unaffected"),
        (advisory(), "3.1", "affected"),  # names no versions: all of them
        (advisory(("introduced", "0"), ("fixed", "2019-09-12")), "0.9", "undecided"),
        (REQUESTS, "next-tuesday", "undecided"),
        (advisory(("introduced", "1!0"), ("fixed", "1!2")), "5", "unaffected"),  # epochs
    ],
)
def test_a_version_is_affected_exactly_when_the_osv_rules_say_so(case: Advisory, version: str, verdict: str) -> None:
    assert decide(case, version).verdict == verdict


def test_the_reason_names_the_range_that_matched() -> None:
    assert decide(URLLIB3, "2.0.5").because == (
        "2.0.5 lies in the range from version 2.0.0 up to, but without, 2.0.6 of X-1"
    )
    assert "up to and with 1.11.0" in decide(PY, "1.0").because


small = st.lists(st.integers(0, 6), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(st.lists(st.tuples(st.sampled_from(["introduced", "fixed", "last_affected"]), small), max_size=6), small)
def test_spans_agree_with_walking_the_events(events: list[tuple[str, str]], version: str) -> None:
    at, affected = Version(version), False

    def place(event: tuple[str, str]) -> tuple[int, Version]:
        return (0, Version("0")) if event[1] == "0" else (1, Version(event[1]))

    for kind, boundary in sorted(events, key=place):
        if kind == "introduced" and (boundary == "0" or at >= Version(boundary)):
            affected = True
        elif (kind == "fixed" and at >= Version(boundary)) or (kind == "last_affected" and at > Version(boundary)):
            affected = False
    assert (Range(tuple(events)).match(at) is not None) == affected


def test_the_fix_is_the_smallest_version_that_no_advisory_affects() -> None:
    second = advisory(("introduced", "2.31.0"), ("fixed", "2.32.0"), id="X-2")
    assert smallest_fix([REQUESTS], "2.4") == "2.31.0"
    assert smallest_fix([REQUESTS, second], "2.4") == "2.32.0"
    assert smallest_fix([URLLIB3], "1.25") == "1.26.17"  # not over to 2.x
    assert smallest_fix([PY], "1.11.0") is None
    candidate = advisory(("introduced", "0"), ("fixed", "2.0rc1"), versions=("1.9", "2.1"))
    assert smallest_fix([candidate], "1.9") == "2.0rc1"  # 2.1 is named as affected
    release = advisory(("introduced", "0"), ("fixed", "2.0rc1"), id="X-3")
    named = advisory(("introduced", "3"), ("fixed", "3.1"), versions=("3.0",), id="X-4")
    assert smallest_fix([release, named], "1.0") == "3.1"  # a final release before a candidate


def test_withdrawn_advisories_decide_nothing_and_other_ecosystems_are_left_alone() -> None:
    index = Index()
    affected = [{"package": {"ecosystem": "PyPI", "name": "Zope.Interface"}}]
    index.add({"id": "A", "withdrawn": "2022-02-22T16:15:07Z", "affected": affected})
    index.add({"id": "B", "affected": [{"package": {"ecosystem": "npm", "name": "zope-interface"}}]})
    assert index.of("zope_interface") == []
    assert index.withdrawn == 1
    index.add({"id": "C", "affected": affected})
    assert [one.id for one in index.of("ZOPE__interface")] == ["C"]


def test_names_are_normalised_as_pep_503_says() -> None:
    assert normal_name("Friendly-._.Bard") == "friendly-bard"


REQUIREMENTS = """\
# made by hand
--index-url https://example.org/simple
Requests[security]==2.30.0 ; python_version < "4"  # why not
urllib3==1.26.16 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
flask>=2
django==4.*
tool @ https://example.org/tool-1.2.3-py3-none-any.whl
-e git+https://example.org/x.git@main#egg=Mine
zope.interface===5.4.0
# Editable install with no version control (local-thing==0.1)
-r more.txt
"""


def test_requirements_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / "more.txt").write_text("py==1.11.0\n")
    found = read_lock(tmp_path / "requirements.txt")
    assert [(one.name, one.version, one.line) for one in found] == [
        ("requests", "2.30.0", 3),
        ("urllib3", "1.26.16", 4),
        ("flask", None, 7),
        ("django", None, 8),
        ("tool", "1.2.3", 9),
        ("mine", None, 10),
        ("zope-interface", "5.4.0", 11),
        ("local-thing", "0.1", 12),
        ("py", "1.11.0", 1),
    ]
    assert found[2].note == "not pinned: flask>=2"
    assert found[-1].file.name == "more.txt"


LOCKS = {
    "poetry.lock": (
        '# This file is automatically @generated by Poetry 2.1.3\n\n[[package]]\nname = "Urllib3"\n'
        'version = "1.26.16"\noptional = false\n\n[package.dependencies]\nversion = "9"\n\n[metadata]\nlock-version = "2.1"\n',
        5,
    ),
    "uv.lock": (
        'version = 1\nrequires-python = ">=3.9"\n\n[[package]]\nname = "mine"\nsource = { editable = "." }\n\n'
        '[[package]]\nname = "urllib3"\nversion = "1.26.16"\nsource = { registry = "https://example.org" }\n',
        10,
    ),
    "Pipfile.lock": (
        '{\n    "_meta": {"sources": []},\n    "default": {\n        "urllib3": {\n            "hashes": [],\n'
        '            "version": "==1.26.16"\n        }\n    },\n    "develop": {}\n}\n',
        6,
    ),
    "pylock.toml": ('lock-version = "1.0"\n\n[[packages]]\nname = "urllib3"\nversion = "1.26.16"\n', 5),
}


@pytest.mark.parametrize("name", LOCKS)
def test_each_lock_file_gives_the_finding_its_line_and_a_patch(name: str, tmp_path: Path) -> None:
    text, line = LOCKS[name]
    (tmp_path / name).write_text(text)
    dependencies = read_lock(tmp_path / name)
    assert [(one.name, one.version, one.line) for one in dependencies] == [("urllib3", "1.26.16", line)]
    index = Index({"urllib3": [URLLIB3]})
    made = draft(findings(dependencies, index))
    apply(tmp_path, made.patch)
    assert (tmp_path / name).read_text() == text.replace("1.26.16", "1.26.17")
    assert "urllib3==1.26.17" in made.commands[0]


def apply(folder: Path, patch: str) -> None:
    """Apply a patch as `patch -p1` does."""
    subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=patch, text=True, check=True)


def test_hashes_of_the_version_that_goes_go_too(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS.replace("-r more.txt\n", ""))
    index = Index({"urllib3": [URLLIB3], "requests": [REQUESTS]})
    made = draft(findings(read_lock(tmp_path / "requirements.txt"), index))
    apply(tmp_path, made.patch)
    after = (tmp_path / "requirements.txt").read_text()
    assert 'Requests[security]==2.31.0 ; python_version < "4"  # why not\nurllib3==1.26.17\nflask' in after
    assert any("hashes were taken out" in line for line in made.by_hand)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "poetry.lock").write_text("[[package]\n")
    with pytest.raises(BadLockFile, match=r"poetry\.lock is not a readable poetry file"):
        read_lock(tmp_path / "poetry.lock")
    (tmp_path / "requirements.txt").write_text("-r requirements.txt\n")
    with pytest.raises(BadLockFile, match="circle"):
        read_lock(tmp_path / "requirements.txt")
    with pytest.raises(BadAdvisory, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadAdvisory, match="holds no OSV advisory"):
        load(tmp_path / "empty", tmp_path)


YAML = """\
id: X-9
details: Something
affected:
- package: {ecosystem: PyPI, name: shop}
  ranges:
  - type: ECOSYSTEM
    events:
    - introduced: 0
    - fixed: 1.10
  versions: [1.9]
"""


def test_unquoted_yaml_versions_stay_text_and_an_archive_is_kept_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "X-9.yaml").write_text(YAML)
    archive = tmp_path / "a.tar.xz"
    with tarfile.open(archive, "w:xz") as opened:
        opened.add(tmp_path / "a", "a")
    first = load(archive, tmp_path / "kept")
    assert first == read(tmp_path / "a") == load(archive, tmp_path / "kept")
    assert smallest_fix(first.of("shop"), "1.2") == "1.10"
    kept = next((tmp_path / "kept").iterdir())
    kept.write_text("{damaged")
    assert load(archive, tmp_path / "kept") == first
    (tmp_path / "a" / "X-9.yaml").write_text(YAML.replace("1.10", "1.11"))
    with tarfile.open(archive, "w:xz") as opened:
        opened.add(tmp_path / "a", "a")
    assert smallest_fix(load(archive, tmp_path / "kept").of("shop"), "1.2") == "1.11"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_example_gives_what_was_worked_out_by_hand() -> None:
    expected = json.loads((HERE / "data" / "expected.json").read_text())
    report = list_vulnerabilities()
    assert {(one["package"], one["advisory"], one["fix"]) for one in report["affected"]} == {
        tuple(row) for row in expected["affected"]
    }
    assert report["undecided"] == report["not_pinned"] == []
    answers = {one["advisory"]: one["verdict"] for one in explain_package("SQLparse")["advisories"]}
    assert answers == {"PYSEC-2021-333": "unaffected", "PYSEC-2023-87": "affected"}
    assert "+sqlparse==0.4.4" in draft_fix()["patch"]


def test_the_one_command_runs_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / "run.py"), *args]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    found = run()
    assert found.returncode == 1
    assert "9 of 185 packages are affected, by 11 of 15 advisories." in found.stdout
    assert json.loads(run("--json").stdout)["fix"]["patch"] == run("--patch").stdout
    (tmp_path / "requirements.txt").write_text("requests==2.32.3\n")
    assert run(str(tmp_path / "requirements.txt")).returncode == 0
    assert run(str(tmp_path / "gone.txt")).returncode == 2
