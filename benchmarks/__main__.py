"""`python -m benchmarks [NAME …]`: run the benchmarks, keep their results, rewrite the tables in README and docs.

`--list` names them: every module here that says which claims hold is one.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import report

NOT_BENCHMARKS = {"__init__", "__main__", "common", "report"}


def names() -> list[str]:
    """Return the benchmarks there are."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if file.stem not in NOT_BENCHMARKS and '"holds"' in file.read_text()]


def main() -> int:
    """Run the benchmarks named, or all; returns 1 where one failed or a claim does not hold."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(names()))
        return 0
    wanted = sys.argv[1:] or names()
    if unknown := [name for name in wanted if name not in names()]:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    bad = []
    for at, name in enumerate(wanted, 1):
        print(f"[{at}/{len(wanted)}] {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=report.ROOT)
        try:
            result = json.loads(done.stdout)
        except ValueError:
            print(f"{name}: exit code {done.returncode}, no result", file=sys.stderr)
            bad.append(name)
            continue
        report.store(name, result)
        for claim, holds in result.get("holds", {}).items():
            print(f"    {'holds' if holds else 'DOES NOT HOLD'}: {claim}", file=sys.stderr)
        if not all(result.get("holds", {}).values()):
            bad.append(name)
    for page in report.rewrite_pages():
        print(f"rewrote {page.relative_to(report.ROOT)}", file=sys.stderr)
    return 1 if bad else 0


sys.exit(main())
