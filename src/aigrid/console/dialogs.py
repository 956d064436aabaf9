"""What the console's dialogs share: how one ends, and how one says why something did not work."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from aigrid.console.gateway import GatewayAway, GatewayRefused


async def outcome(dialog: ui.dialog) -> Any:
    """Return what a dialog came to, None when it was dismissed or its page was left; the dialog is gone then."""
    came = await dialog
    if not dialog.is_deleted:
        dialog.delete()
    return came


def problem_line() -> ui.label:
    """Make the line that says what is wrong."""
    return ui.label().classes("problem").props('role="alert"')


async def attempt(problem: ui.label, act: Callable[[], Awaitable[Any]]) -> Any:
    """Do something and return what came of it, or say why not and return None."""
    try:
        return await act()
    except GatewayAway:
        problem.text = "The gateway does not answer; nothing was changed."
    except GatewayRefused as refusal:
        problem.text = refusal.message
    return None
