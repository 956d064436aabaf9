"""`aigrid pack`: make, look at, check, sign, send and fetch packs."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from aigrid.cli import output
from aigrid.cli.output import Json, emit, warn
from aigrid.cli.packs_show import as_dict, cells, facts, megabytes, shown, signature, value

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.packs import Pack
    from aigrid.packs.registry import Registry

app = typer.Typer(help="Packs: what is shipped, checked and signed.", no_args_is_help=True, rich_markup_mode=None)

Which = Annotated[str, typer.Argument(metavar="PACK", help="NAME or NAME:VERSION on the shelf, or a pack's folder.")]
Place = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="Place in a registry: HOST[:PORT]/NAME[:TAG][@DIGEST].")
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Speak HTTP without TLS, e.g. to a registry on localhost.")
]
User = Annotated[
    str,
    typer.Option(
        help="Name at the registry, its password in AIGRID_REGISTRY_PASSWORD; else what `docker login` saved."
    ),
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the packs on the shelf, and which of them are in service."""
    from aigrid.packs import Shelf

    shelf = Shelf()
    packs = shelf.packs()
    serving = {name: now.version for name in {pack.manifest.name for pack in packs} if (now := shelf.in_service(name))}

    def show(console: "Console") -> None:
        if not packs:
            console.print("No packs here: `aigrid pack build` makes one, `aigrid pack pull` fetches one.")
            return
        rows = output.table("pack", "kind", "made", "size", "in service", "digest")
        for pack in packs:
            about = pack.manifest
            state = "yes" if serving.get(about.name) == about.version else ""
            size = megabytes(about.size)
            rows.add_row(
                f"{about.name}:{about.version}", about.kind, about.created[:10], size, state, pack.digest[7:19]
            )
        console.print(rows)

    listed = [
        as_dict(pack) | {"in_service": serving.get(pack.manifest.name) == pack.manifest.version} for pack in packs
    ]
    emit({"packs": listed}, as_json, show)


@app.command("inspect")
def inspect(which: Which, as_json: Json = False) -> None:
    """Show what a pack is: its base model, files, evidence, data, and who signed it."""
    from aigrid.cli.progress import moving
    from aigrid.packs import keys, verify

    pack = _find(which)
    with moving(f"Checking {which}", pack.manifest.size) as (tell, _):
        report = verify(pack.path, keys.trusted(), tell)
    about = pack.manifest

    def show(console: "Console") -> None:
        console.print(f"{about.name}:{about.version}", style="bold", markup=False)
        for name, text in facts(pack, report):
            console.print(f"{name:<10} {text}", markup=False)
        if about.evidence:
            rows = output.table("figure", "value", "interval", "n", "baseline", right=1)
            for figure in about.evidence:
                rows.add_row(figure.name, *cells(figure))
            console.print()
            console.print(rows)
        rows = output.table("file", "for", "size", "digest")
        for file in about.files:
            rows.add_row(file.path, file.role, megabytes(file.size), file.digest[7:19])
        console.print()
        console.print(rows)

    emit(as_dict(pack) | {"signature": signature(report)}, as_json, show)


@app.command("verify")
def verify_(which: Which, as_json: Json = False) -> None:
    """Check every file of a pack and its signature; exit code 1, and which file, where something is wrong."""
    from aigrid.cli.progress import moving
    from aigrid.packs import keys, verify

    path = _folder(which)
    with moving(f"Checking {which}", sum(file.stat().st_size for file in path.rglob("*") if file.is_file())) as (
        tell,
        _,
    ):
        report = verify(path, keys.trusted(), tell)

    def show(console: "Console") -> None:
        if report.ok:
            console.print(f"{which} is whole, signed by {report.signer} (key {report.key_id[:12]}).", markup=False)
        for problem in report.problems:
            console.print(f"{problem.text[0].upper()}{problem.text[1:]}.", style="red", markup=False)

    emit({"ok": report.ok, "digest": report.digest, **signature(report)}, as_json, show)
    if not report.ok:
        raise typer.Exit(1)


@app.command("build")
def build(
    recipe: Annotated[Path, typer.Argument(metavar="FILE", help="Recipe: a pack.toml with the manifest and [files].")],
    out: Annotated[Path | None, typer.Option(help="Folder to make; on the shelf, unless given.")] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Do not sign it with this installation's key.")] = False,
    as_json: Json = False,
) -> None:
    """Make a pack from a recipe, sign it, and put it on the shelf."""
    from aigrid.cli.progress import moving
    from aigrid.packs import Shelf, open, sign
    from aigrid.packs.recipe import load, make

    plan = load(recipe)
    shelf = Shelf()
    shelf.folder.mkdir(parents=True, exist_ok=True)
    # Made beside the shelf, so that it gets there by being renamed; each byte is copied once and signed once.
    with (
        TemporaryDirectory(prefix=".build-", dir=shelf.folder) as folder,
        moving(f"Packing {plan.manifest.name}", plan.bytes * (1 if unsigned else 2)) as (tell, _),
    ):
        target = out or Path(folder) / "pack"
        make(plan, target, tell)
        if not unsigned:
            sign(target, progress=tell)
        pack = open(target) if out else shelf.put(target, move=True)
    about = f"{pack.manifest.name}:{pack.manifest.version} ({megabytes(pack.manifest.size)}) is at {pack.path}"
    emit(as_dict(pack), as_json, lambda console: console.print(f"{about}\n{pack.digest}", markup=False))


@app.command("sign")
def sign(
    which: Which,
    key: Annotated[Path | None, typer.Option(help="Private key (PEM); this installation's own, unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Sign a pack in the format of OpenSSF model-signing; the first signature makes this installation's key."""
    from aigrid.cli.progress import moving
    from aigrid.packs import keys, signing

    pack = _find(which)
    with moving(f"Signing {which}", pack.manifest.size) as (tell, _):
        id = signing.sign(pack.path, keys.load_private(key) if key else None, tell)
    emit({"digest": pack.digest, "key": id}, as_json, lambda console: console.print(f"Signed with the key {id[:12]}."))


@app.command("key")
def key(as_json: Json = False) -> None:
    """Show this installation's public key: give it to those who should trust your packs."""
    from aigrid.packs import keys

    own = keys.own_public()
    path = keys.folder() / "sign.pub"
    text = f"{own.pem.decode()}{path} (key {own.id[:12]})"
    emit({"key": own.id, "path": str(path), "pem": own.pem.decode()}, as_json, lambda console: console.print(text))


@app.command("trust")
def trust(
    file: Annotated[Path, typer.Argument(metavar="KEY", help="Public key (PEM) of somebody else.")],
    name: Annotated[str, typer.Option(help="Whose it is; the file's name, unless given.")] = "",
    as_json: Json = False,
) -> None:
    """Trust the packs that a key has signed. To trust it no longer, delete its file in AIGRID_HOME/keys/trusted."""
    from aigrid.packs import keys

    found = keys.trust(file, name or file.stem)
    text = f"Packs signed by {found.name} (key {found.id[:12]}) are trusted from now on."
    emit({"name": found.name, "key": found.id}, as_json, lambda console: console.print(text, markup=False))


@app.command("push")
def push(which: Which, place: Place, plain_http: PlainHttp = False, user: User = "", as_json: Json = False) -> None:
    """Send a pack and its signature to a registry; what is there already is not sent again."""
    from aigrid.cli.progress import moving
    from aigrid.packs import signing, transfer

    pack = _find(which)
    if signing.read(pack.path) is None:
        warn(f"{which} is not signed: others will refuse it; `aigrid pack sign {which}` signs it")

    async def work() -> transfer.Pushed:
        async with _registry(place, pack.manifest.version, plain_http, user) as registry:
            return await transfer.push(pack.path, registry, tell)

    with moving(f"Sending {pack.manifest.name}", pack.manifest.size) as (tell, _):
        done = asyncio.run(work())
    text = f"{place} is {done.digest}\n{megabytes(done.sent)} sent, {megabytes(done.skipped)} were there."
    emit(done, as_json, lambda console: console.print(text, markup=False))


@app.command("pull")
def pull(
    place: Place,
    plain_http: PlainHttp = False,
    user: User = "",
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Take it though nobody who is trusted has signed it; it must be whole.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a pack from a registry, check it, and put it on the shelf; a fetch that was cut goes on where it stopped."""
    from aigrid.cli.progress import moving
    from aigrid.packs import Shelf, keys, transfer, verify

    trusted = keys.trusted()

    async def work() -> Path:
        async with _registry(place, "latest", plain_http, user) as registry:
            return await transfer.pull(registry, trusted, tell, sized)

    with moving(f"Fetching {place}") as (tell, sized):
        path = asyncio.run(work())
        report = verify(path, trusted)
    report.demand(signed=not unsigned)
    pack = Shelf().put(path, move=True)
    signer = f"signed by {report.signer}" if report.signer else "not signed by anybody trusted"
    text = f"{pack.manifest.name}:{pack.manifest.version} ({megabytes(pack.manifest.size)}, {signer}) is on the shelf."
    emit(as_dict(pack) | {"signature": signature(report)}, as_json, lambda console: console.print(text, markup=False))


@app.command("diff")
def diff(before: Which, after: Which, as_json: Json = False) -> None:
    """Show what is different between two packs: what they say, their files, and their figures side by side."""
    from aigrid.packs.comparing import compare

    found = compare(_find(before), _find(after))

    def show(console: "Console") -> None:
        rows = output.table("", before, after)
        for field in found.fields:
            rows.add_row(field.name, shown(field.before), shown(field.after))
        for file in found.files:
            rows.add_row(f"{file.path} ({file.change})", megabytes(file.before), megabytes(file.after))
        if rows.row_count:
            console.print(rows)
        if found.evidence:
            figures = output.table("figure", before, after, "gain", right=1)
            for figure in found.evidence:
                gain = "" if figure.gain is None else f"{figure.gain:+.6g}"
                figures.add_row(figure.name, value(figure.before), value(figure.after), gain)
            console.print()
            console.print(figures)
        if not found.fields and not found.files:
            console.print("They are the same.")

    emit(found, as_json, show)


@app.command("rm")
def remove(
    which: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="A pack on the shelf.")], as_json: Json = False
) -> None:
    """Delete a pack from the shelf; one that is in service stays."""
    from aigrid.packs import Shelf

    name, _, version = which.partition(":")
    freed = Shelf().remove(name, version)
    emit({"freed_bytes": freed}, as_json, lambda console: console.print(f"{megabytes(freed)} freed."))


def _find(which: str) -> "Pack":
    from aigrid.packs import open

    return open(_folder(which))


def _folder(which: str) -> Path:
    """Return the folder of a pack: one that is named, or that of a name and version on the shelf."""
    from aigrid.packs import Shelf

    path = Path(which).expanduser()
    if "/" in which or path.is_dir():
        return path
    name, _, version = which.partition(":")
    return Shelf().find(name, version)


def _registry(place: str, tag: str, plain_http: bool, user: str) -> "Registry":
    from aigrid.packs.reference import credentials, parse
    from aigrid.packs.registry import Registry

    reference = parse(place, tag)
    return Registry(reference, plain_http=plain_http, credentials=credentials(reference.host, user))
