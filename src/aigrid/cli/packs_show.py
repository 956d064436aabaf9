"""Packs as `aigrid pack` prints them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigrid.packs import Figure, Pack, Report


def megabytes(size: int) -> str:
    """Return bytes for people."""
    if size < 1000:
        return f"{size} B"
    if size < 100_000:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:,.2f} GB"


def as_dict(pack: "Pack") -> dict[str, Any]:
    """Return a pack as `--json` prints it."""
    return {"digest": pack.digest, "path": str(pack.path), "manifest": pack.manifest, "bytes": pack.manifest.size}


def signature(report: "Report") -> dict[str, Any]:
    """Return who signed a pack, and what is wrong with it."""
    return {"signer": report.signer, "key": report.key_id, "problems": report.problems}


def facts(pack: "Pack", report: "Report") -> list[tuple[str, str]]:
    """Return what there is to say about a pack, in lines of two cells."""
    about = pack.manifest
    runtime = ", ".join(f"{name}={value}" for name, value in about.runtime.items())
    data = ", ".join(f"{data.name} ({data.licence or 'licence not stated'})" for data in about.data)
    signed = f"by {report.signer} (key {report.key_id[:12]})" if report.signer else "by nobody who is trusted here"
    base = f"{about.base.name}, {about.base.digest[:19]}… from {about.base.source}" if about.base else ""
    state = "whole" if report.whole else "; ".join(problem.text for problem in report.problems)
    rows = [
        ("", about.summary),
        ("kind", about.kind),
        ("made", about.created),
        ("licence", about.licence),
        ("base", base),
        ("runs with", runtime),
        ("data", data),
        ("size", megabytes(about.size)),
        ("digest", pack.digest),
        ("signed", signed),
        ("state", state),
        ("where", str(pack.path)),
    ]
    return [(name, text) for name, text in rows if text]


def cells(figure: "Figure") -> tuple[str, str, str, str]:
    """Return a figure's value, interval, count and baseline as text."""
    interval = "" if figure.low is None or figure.high is None else f"{figure.low:.6g} to {figure.high:.6g}"
    baseline = "" if figure.baseline is None else f"{figure.baseline:.6g}"
    return value(figure), interval, f"{figure.n:,}" if figure.n else "", baseline


def value(figure: "Figure | None") -> str:
    """Return a figure's value with its unit; nothing for none."""
    if figure is None:
        return ""
    return f"{figure.value:.6g} {figure.unit}".rstrip()


def shown(field: Any) -> str:
    """Return a manifest's value for a table."""
    return "" if field is None else str(field)
