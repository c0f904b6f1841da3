"""Presence: which workers of this machine live, as its kernel knows it.

A lease alone tells that a worker is gone only once it has lapsed. The kernel knows at once, for what runs on
the same machine: a worker holds a name there for as long as it lives, also while it is stopped.
"""

import errno
import os
import secrets
import socket
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NETWORK_NAMESPACE: Final = "/proc/self/ns/net"


class Presence(Protocol):
    """Names that go with their process, however that ends."""

    machine: str
    """Where a name that is not held belongs to nobody."""

    def announce(self, worker_id: str) -> None:
        """Hold a worker's name from now on."""

    def withdraw(self, worker_id: str) -> None:
        """Let go of a name."""

    def is_gone(self, worker_id: str, machine: str) -> bool:
        """Tell whether a worker has certainly ended; False where that cannot be known."""


class UnknownPresence:
    """Where the kernel has no such names: no worker is known to be gone before its lease has lapsed."""

    machine = ""

    def announce(self, worker_id: str) -> None:
        """Nobody can be told."""

    def withdraw(self, worker_id: str) -> None:
        """Nobody was told."""

    def is_gone(self, worker_id: str, machine: str) -> bool:
        """Never known."""
        return False


class SocketPresence:
    """Abstract unix sockets (Linux, unix(7)): seen by every process of one boot and network namespace."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self._held: dict[str, socket.socket] = {}

    def announce(self, worker_id: str) -> None:
        """Bind the worker's name. Raises OSError."""
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(_address(worker_id))
        except OSError:
            held.close()
            raise
        self._held[worker_id] = held

    def withdraw(self, worker_id: str) -> None:
        """Close the worker's socket."""
        self._held.pop(worker_id).close()

    def is_gone(self, worker_id: str, machine: str) -> bool:
        """Tell whether a worker of this machine holds its name no more."""
        if machine != self.machine:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(_address(worker_id))
            except OSError as error:
                return error.errno == errno.ECONNREFUSED
        return False


def _address(worker_id: str) -> str:
    return f"\0tokenopen/{worker_id}"


def find_presence() -> Presence:
    """Return what this machine's kernel offers."""
    try:
        machine = f"{_BOOT_ID.read_text().strip()} {os.readlink(_NETWORK_NAMESPACE)}"
        presence = SocketPresence(machine)
        # Some sandboxes have the files and yet no such sockets.
        name = f"probe/{secrets.token_hex(8)}"
        presence.announce(name)
        told = presence.is_gone(name, machine)
        presence.withdraw(name)
        if told or not presence.is_gone(name, machine):
            return UnknownPresence()
    except OSError:
        return UnknownPresence()
    return presence
