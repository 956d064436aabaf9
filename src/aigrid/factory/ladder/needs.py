"""Whether what a rung is fitted with is installed."""

import importlib.util


def missing(*modules: str, extra: str = "factory") -> str:
    """Return what to install where one of the modules is missing, else an empty string."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: pip install 'aigrid[{extra}]'" if absent else ""
