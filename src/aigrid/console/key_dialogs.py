"""The dialogs of the keys page: make a key, show its secret once, revoke, change limits."""

from typing import Any

from markupsafe import Markup
from nicegui import ui

from aigrid.console import theme
from aigrid.console.dialogs import attempt, outcome, problem_line
from aigrid.console.gateway import Gateway, segment
from aigrid.ledger.prices import NUSD

MONEY = (("total_nusd", "Budget in all"), ("month_nusd", "Budget per month"), ("day_nusd", "Budget per day"))
RATES = (
    ("requests_per_minute", "Requests per minute"),
    ("tokens_per_minute", "Tokens per minute"),
    ("concurrency", "Requests at once"),
)


class LimitFields:
    """Inputs for limits; an empty one is no limit."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._money = {
            field: _field(ui.number(label, value=_usd(limits.get(field)), min=0, prefix="$", placeholder="no limit"))
            for field, label in MONEY
        }
        self._rates = {
            field: _field(ui.number(label, value=limits.get(field), min=0, precision=0, placeholder="no limit"))
            for field, label in RATES
        }

    def limits(self) -> dict[str, int]:
        """Return the limits as the gateway takes them."""
        money = {field: round(made.value * NUSD) for field, made in self._money.items() if made.value is not None}
        return money | {field: int(made.value) for field, made in self._rates.items() if made.value is not None}


def _usd(nusd: int | None) -> float | None:
    return None if nusd is None else nusd / NUSD


def _field(made: Any) -> Any:
    made.props("outlined dense stack-label")
    return made


async def create_key(gateway: Gateway, tenants: list[str]) -> bool:
    """Ask for a key's particulars, make it, show the secret this once. Returns whether one was made."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        theme.html("<h2>New key</h2><p class='muted'>A new tenant name makes a new tenant. Empty limits are none.</p>")
        with ui.element("div").classes("fields"):
            tenant = _field(ui.input("Tenant", placeholder="who pays", autocomplete=tenants))
            name = _field(ui.input("Name", placeholder="which program"))
            scope = _field(
                ui.select({"inference": "makes tokens", "admin": "administers"}, value="inference", label="Scope")
            )
            scope.classes("wide")
            limits = LimitFields({})
        problem = problem_line()

        async def make() -> None:
            if not (tenant.value or "").strip():
                problem.text = "Name the tenant that pays."
                return
            body = {
                "tenant": tenant.value.strip(),
                "name": (name.value or "").strip(),
                "scope": scope.value,
                "limits": limits.limits(),
            }
            made = await attempt(problem, lambda: gateway.post("/admin/keys", body))
            if made is not None:
                dialog.submit(made)

        with ui.element("div").classes("actions"):
            theme.button("Cancel", lambda: dialog.submit(None), kind="plain")
            theme.button("Make key", make, kind="primary")
    made = await outcome(dialog)
    if made is None:
        return False
    await _show_secret(made["key"])
    return True


async def _show_secret(secret: str) -> None:
    with ui.dialog().props("persistent") as dialog, ui.card().classes("dialog"):
        theme.html(
            "<h2>Your new key</h2><p>Copy it now: it is shown this once and kept nowhere. "
            "If it is lost, make another.</p>"
        )
        theme.html(Markup('<output class="secret" id="secret">{}</output>').format(secret))
        with ui.element("div").classes("actions"):
            copy = theme.button("Copy")
            copy.on("click", js_handler=_COPY)
            theme.button("I have it", lambda: dialog.submit(True), kind="primary")
    await outcome(dialog)


_COPY = """async (event) => {
  const text = document.getElementById("secret").textContent, button = event.currentTarget;
  try { await navigator.clipboard.writeText(text); }
  catch { getSelection().selectAllChildren(document.getElementById("secret")); document.execCommand("copy"); }
  button.querySelector(".block, .q-btn__content").textContent = "Copied";
}"""


async def revoke_key(gateway: Gateway, key: dict[str, Any]) -> bool:
    """Ask, then revoke. Returns whether it was."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        text = (
            "<h2>Revoke {} …{}?</h2><p>Programs that use it are refused from now on. What they have running still "
            "settles. This cannot be undone.</p>"
        )
        theme.html(Markup(text).format(key["name"] or "this key", key["hint"]))
        problem = problem_line()

        async def revoke() -> None:
            if await attempt(problem, lambda: gateway.delete(f"/admin/keys/{segment(key['id'])}")) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Keep it", lambda: dialog.submit(False), kind="plain")
            theme.button("Revoke key", revoke, kind="danger")
    return bool(await outcome(dialog))


async def edit_tenant(gateway: Gateway, tenant: dict[str, Any]) -> bool:
    """Ask for a tenant's limits and set them. Returns whether they were."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        text = "<h2>Limits of {}</h2><p class='muted'>They hold for all its keys together. Empty is no limit.</p>"
        theme.html(Markup(text).format(tenant["name"]))
        with ui.element("div").classes("fields"):
            limits = LimitFields(tenant["limits"])
        problem = problem_line()

        async def save() -> None:
            path = f"/admin/tenants/{segment(tenant['name'])}"
            if await attempt(problem, lambda: gateway.put(path, {"limits": limits.limits()})) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Cancel", lambda: dialog.submit(False), kind="plain")
            theme.button("Save", save, kind="primary")
    return bool(await outcome(dialog))
