"""Every stage of a line killed with SIGKILL at 20 seeded moments, and resumed: the pack must be the same, byte for byte.

A moment is a line of the factory's own code, drawn by the seed among all that the stage passes in a whole build, from
its beginning until the next one's. Each build is a process forked from one that has everything imported, and finds
what the stages before it left; the first is killed, a second one is killed a little later, the third goes on to the end.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from benchmarks import common

POINTS, SEED = 20, 6
WATCHED = ("/aigrid/factory/", "/aigrid/packs/")
FOODS = {
    "sweet": ["cake", "honey", "candy", "jam"],
    "salty": ["chips", "olives", "ham", "brine"],
    "sour": ["lemon", "vinegar", "kiwi", "sorrel"],
}
STAGES: list[dict[str, Any]] = [
    {"curate": {"sources": [{"data": "lessons"}, {"data": "asked", "evaluate": True}], "dev": 0.2, "near": 0.95}},
    {"synthesise": {"perturb": {"count": 60}, "templates": {"count": 20, "file": "grammar.yaml"}}},
    {"train": {"bar": 0.5, "clears": "value", "rungs": ["nearest", "linear"], "climb": "all", "metric": "label"}},
    {"evaluate": {"metric": "label", "slices": "output", "least": 5}},
    {"pack": {"licence": "CC0-1.0"}},
    {"gate": {"at_least": 0.2}},
]


def line(folder: Path) -> Path:
    """Write a line of six stages with data of its own; return its folder."""
    lessons = [
        (f"do you like {food} {at}", taste) for taste, foods in FOODS.items() for food in foods for at in range(6)
    ]
    asked = [
        (f"a fine piece of {food}, number {at}", taste)
        for taste, foods in FOODS.items()
        for food in foods
        for at in range(4)
    ]
    for name, rows in {"lessons": lessons, "asked": asked}.items():
        text = "".join(json.dumps({"input": text, "output": taste}) + "\n" for text, taste in rows)
        (folder / f"{name}.jsonl").write_text(text)
    templates = [{"input": f"give me {{{taste}}}", "output": taste} for taste in FOODS]
    (folder / "grammar.yaml").write_text(json.dumps({"templates": templates, "slots": FOODS}))
    data = {"lessons": {"file": "lessons.jsonl", "licence": "CC0-1.0"}, "asked": {"file": "asked.jsonl"}}
    (folder / "line.yaml").write_text(json.dumps({"line": "crash", "data": data, "stages": STAGES}))
    return folder


def build(folder: Path, home: Path, watch: str, kill_at: int) -> int:
    """Build the line, dying at the n-th line that is passed while a stage is at work (0: never); returns those passed."""
    from aigrid.factory import run
    from aigrid.factory.line import load

    os.environ["AIGRID_HOME"] = str(home)
    passed, now = 0, ""

    def say(done: Any) -> None:
        nonlocal now
        now = done.name

    def on_line(frame: Any, event: str, arg: Any) -> Any:
        nonlocal passed
        if event == "line" and now == watch:
            passed += 1
            if passed == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: Any, event: str, arg: Any) -> Any:
        return on_line if any(part in frame.f_code.co_filename for part in WATCHED) else None

    planned = load(folder)
    if watch:
        threading.settrace(on_call)
        sys.settrace(on_call)
    try:
        run.build(planned, say=say)
    finally:
        sys.settrace(None)
    return passed


def forked(folder: Path, home: Path, watch: str = "", kill_at: int = 0) -> tuple[bool, int]:
    """Build in a process of its own; returns whether it was killed, and the lines passed."""
    back, there = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(back)
            os.write(there, str(build(folder, home, watch, kill_at)).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(there)
    with os.fdopen(back, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the build in {home} failed; what it said is above")
    return os.WIFSIGNALED(status), int(said or 0)


def pack_of(home: Path) -> dict[str, str]:
    """Return the digest of every file of the pack that is in service."""
    from aigrid.factory import digest

    [service] = (home / "packs").glob("*/service.json")
    [pack] = [path for path in service.parent.glob("[!.]*/") if (path / "index.json").is_file()]
    return {
        path.relative_to(pack).as_posix(): digest.of_file(path) for path in sorted(pack.rglob("*")) if path.is_file()
    }


def results(home: Path) -> dict[str, str]:
    """Return what each stage's result came to, by the newest build."""
    newest = max((home / "factory" / "lines" / "crash" / "builds").glob("*.json"))
    return {stage["name"]: stage["digest"] for stage in json.loads(newest.read_text())["stages"]}


def until(folder: Path, base: Path, stage: str, keys: Path) -> Path:
    """Return a home in which the stages before this one are done."""
    from aigrid.factory import run
    from aigrid.factory.line import load

    home = base / f"before-{stage}"
    shutil.copytree(keys, home / "keys")
    names = [next(iter(each)) for each in STAGES]
    if names.index(stage):
        os.environ["AIGRID_HOME"] = str(home)
        run.build(load(folder), until=names[names.index(stage) - 1])
    return home


def main() -> None:
    """Count the lines of each stage, draw the moments, kill, go on, compare."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--points", type=int, default=POINTS, help="kills of each stage")
    options = parser.parse_args()
    draw = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "line").mkdir()
        folder = line(base / "line")
        whole = base / "whole"
        whole.mkdir()
        build(folder, whole, "", 0)  # imports everything, and makes the key
        wanted, digests = pack_of(whole), results(whole)
        stages, killed, same, equal = {}, 0, 0, 0
        for stage in (next(iter(each)) for each in STAGES):
            start = until(folder, base, stage, whole / "keys")
            counted = base / f"count-{stage}"
            shutil.copytree(start, counted)
            _, lines = forked(folder, counted, stage)
            stages[stage] = lines
            for at in range(options.points):
                home = base / f"{stage}-{at}"
                shutil.copytree(start, home)
                killed += forked(folder, home, stage, draw.randint(1, lines))[0]
                forked(folder, home, stage, draw.randint(1, lines))  # once more, while it goes on, if it gets so far
                forked(folder, home)
                same += pack_of(home) == wanted
                equal += results(home) == digests
                shutil.rmtree(home)
    points = options.points * len(STAGES)
    figures = {
        "stages": len(STAGES),
        "kills of each stage": options.points,
        "lines of each stage": stages,
        "points that killed": killed,
        "packs with the same bytes": same,
        "builds with the same results in every stage": equal,
    }
    holds = {
        "every point killed the stage that it was drawn for": killed == points,
        "every pack is the same, byte for byte": same == points,
        "every stage has the same result": equal == points,
    }
    common.report({"name": "line_crash", "figures": figures, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
