"""The command `apigpu`: every operation from a terminal, with live progress."""

from apigpu_client.cli.commands import main

__all__ = ["main"]
