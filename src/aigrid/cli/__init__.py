"""The commands."""

from aigrid.cli.app import main

__all__ = ["main"]
