"""Runs a line, stage after stage; what was done with the same input is taken as it is.

A stage writes into a folder that becomes its result by one rename: after a crash it is there as a whole or not at
all. Its key is the digest of its settings, seed, input and code. Two builds of one line exclude each other.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec

from aigrid.client.http import Gateway
from aigrid.core.clock import mono_ns
from aigrid.core.config import SiteConfig, home
from aigrid.core.errors import AigridError, Conflict
from aigrid.factory import digest
from aigrid.factory.base import Cost, Job, Tell, quiet, stage
from aigrid.factory.line import Line, Planned
from aigrid.factory.record import Build, Done, Log
from aigrid.factory.spread import Here, Spread
from aigrid.ledger.energy import find_meter

Say = Callable[[Done], None]
"""Told when a stage begins, and when it has ended."""


def root() -> Path:
    """Return where the factory keeps its work: `AIGRID_HOME/factory`."""
    return home() / "factory"


def build(
    line: Line,
    site: SiteConfig | None = None,
    tell: Tell = quiet,
    say: Say = lambda done: None,
    until: str = "",
    gateway: Callable[[], Gateway] | None = None,
    spread: Spread | None = None,
) -> Build:
    """Run a line, or its stages up to `until`; returns what each stage did. Raises what a stage raises.

    `spread` says where the work on many rows is done, which changes no byte of the result.

    Interrupted or killed, the next call goes on where this one was.
    """
    site = site or SiteConfig()
    with _alone(line.name):
        log = Log(root() / "lines" / line.name, line)
        files = {name: digest.of_file(path) for name, path in line.files.items()}
        results: dict[str, Done] = {}
        for planned in line.stages:
            done = _one(line, planned, files, results, log, site, tell, say, gateway, spread or Here())
            results[planned.name] = done
            if planned.name == until:
                break
        return log.end()


def result(key: str) -> Path:
    """Return the folder of a stage's result by its key."""
    return root() / "cache" / key / "out"


def _one(
    line: Line,
    planned: Planned,
    files: dict[str, str],
    results: dict[str, Done],
    log: Log,
    site: SiteConfig,
    tell: Tell,
    say: Say,
    gateway: Callable[[], Gateway] | None,
    spread: Spread,
) -> Done:
    module = stage(planned.use, line.name)
    digests = {name: results[name].digest for name in planned.after}
    key = digest.of_value(
        {
            "use": planned.use,
            "line": [line.name, line.date],
            "seed": line.seed,
            "settings": msgspec.to_builtins(planned.settings),
            "data": {name: [files[name], msgspec.to_builtins(line.data[name])] for name in files},
            "after": {name: [results[name].digest, results[name].measured] for name in planned.after}
            if getattr(module, "READS_MEASURED", False)
            else digests,
            "folder": _own(line, module),
            "beside": module.depends(line.name, planned.settings, digests) if hasattr(module, "depends") else "",
            "code": digest.of_code(cast(ModuleType, module)),
        }
    )
    kept = root() / "cache" / key
    done = Done(planned.name, planned.use, key, after=list(planned.after))
    if (kept / "stage.json").is_file():
        before = msgspec.json.decode((kept / "stage.json").read_bytes(), type=Done)
        done = msgspec.structs.replace(before, name=planned.name, state="kept", after=list(planned.after))
        log.write(done)
        say(done)
        return done
    log.write(done)
    say(done)
    work = root() / "work" / key
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (work / "kept").mkdir(exist_ok=True)
    (work / "inputs.json").write_bytes(msgspec.json.encode({name: results[name].key for name in planned.after}))
    job = Job(
        planned.name, line.seed, line.folder, line.files, {name: result(results[name].key) for name in planned.after},
        out, work / "kept", log.telling(done, tell),
        {
            "line": line.name,
            "about": line.about,
            "date": line.date,
            "data": {name: {"digest": files[name], **msgspec.to_builtins(line.data[name])} for name in files},
            "digests": digests,
            "figures": {name: results[name].figures for name in planned.after},
            "measured": {name: results[name].measured for name in planned.after},
        },
        gateway,
        spread=spread,
    )  # fmt: skip
    meter, began = find_meter(site.tdp_w), mono_ns()
    try:
        module.run(job, planned.settings)
    except BaseException as error:
        done.state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        done.error = error.message if isinstance(error, AigridError) else f"{type(error).__name__}: {error}"
        done.ns = mono_ns() - began
        log.write(done)
        say(done)
        raise
    sample = meter.sample()
    done.ns = mono_ns() - began
    done.cost = _cost(job.cost, sample.energy_mj, sample.source, done.ns, site)
    done.figures, done.measured, done.state = job.figures, job.measured, "done"
    done.digest = digest.of_value([digest.of_folder(out), job.figures])
    _keep(work, kept, done)
    log.write(done)
    say(done)
    return done


def _own(line: Line, module: Any) -> str:
    """Return the digest of the blueprint's own code where a stage runs some."""
    if not getattr(module, "OWN_CODE", False):
        return ""
    return digest.of_value({path.name: digest.of_file(path) for path in sorted(line.folder.glob("*.py"))})


def _cost(used: Cost, mj: int, source: str, ns: int, site: SiteConfig) -> Cost:
    """Return what a stage cost: what models cost, and this machine's energy and hours."""
    energy = round(mj * site.energy_usd_per_kwh / 3.6)  # a kWh is 3.6e9 mJ, a dollar 1e9 nano-dollars
    hardware = round(ns * site.hardware_usd_per_hour / 3600)
    return Cost(used.tokens, used.nusd + energy + hardware, used.mj + mj, source)


def _keep(work: Path, kept: Path, done: Done) -> None:
    """Make a finished folder the stage's result: on the disk first, then in place."""
    (work / "stage.json").write_bytes(msgspec.json.encode(done))
    shutil.rmtree(work / "kept", ignore_errors=True)
    for path in [work / "stage.json", *work.rglob("out/**/*")]:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    work.rename(kept)
    folder = os.open(kept.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    folder = root() / "lines" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"the line `{name}` is being built by another process; wait for it", code="busy") from None
        yield
