"""The command line: one file a command, `console` for what they share, `command` to choose among them."""

from .command import main

__all__ = ["main"]
