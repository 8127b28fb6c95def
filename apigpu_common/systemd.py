"""The one word that systemd wants of a service of `Type=notify` (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def tell_ready() -> None:
    """What waits for this service may go on. Nothing is told where systemd did not start us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"READY=1", address.replace("@", "\0", 1))
