"""Under the answer of a pack: was it right, and if not, what would have been? The flywheel learns from it."""

from collections.abc import Mapping

from nicegui import ui

from aigrid.console import dialogs, theme
from aigrid.console.gateway import Gateway


async def rated_by(gateway: Gateway) -> frozenset[str]:
    """Return the models whose answers can be rated: the packs in service."""
    found = (await gateway.get("/admin/packs"))["packs"]
    return frozenset(pack["name"] for pack in found if pack["in_service"])


class Rate:
    """Two buttons and a line for the right answer."""

    def __init__(self, gateway: Gateway, model: str, asked: str, said: str, request: str) -> None:
        self._gateway = gateway
        self._about = {"model": model, "input": asked, "said": said, "request": request}
        with ui.element("div").classes("rate") as self._all:
            ui.label("Was this right?")
            theme.button("Right", self._right, kind="small").props('aria-label="This answer is right"')
            theme.button("Wrong", self._wrong, kind="small").props('aria-label="This answer is wrong"')
            self._better = ui.input(placeholder="What would have been right?").props("outlined dense").classes("better")
            self._better.on("keydown.enter", self._correct)
            self._keep = theme.button("Teach it", self._correct, kind="primary small")
            self._problem = dialogs.problem_line()
        for part in (self._better, self._keep):
            part.set_visibility(False)

    async def _right(self) -> None:
        await self._give({"rating": 1}, "Thank you: it is kept as right.")

    def _wrong(self) -> None:
        for part in (self._better, self._keep):
            part.set_visibility(True)

    async def _correct(self) -> None:
        better = (self._better.value or "").strip()
        more = {"rating": -1, "correction": better} if better else {"rating": -1}
        await self._give(more, "Thank you: it is kept for the next lesson.")

    async def _give(self, more: Mapping[str, object], thanks: str) -> None:
        body = {**self._about, **more}
        if await dialogs.attempt(self._problem, lambda: self._gateway.post("/admin/ratings", body)) is not None:
            self._all.clear()
            with self._all:
                ui.label(thanks)
