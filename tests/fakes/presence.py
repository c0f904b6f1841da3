"""Presence on machines that tests make up: what one worker announces, every other one of its machine sees."""


class FakePresence:
    """The Presence port. Those with the same ``names`` are on one kernel; a test ends a process by dropping
    its names."""

    def __init__(self, machine: str = "here", names: set[str] | None = None) -> None:
        self.machine = machine
        self.names = set[str]() if names is None else names

    def announce(self, worker_id: str) -> None:
        self.names.add(worker_id)

    def withdraw(self, worker_id: str) -> None:
        self.names.remove(worker_id)

    def is_gone(self, worker_id: str, machine: str) -> bool:
        return machine == self.machine and worker_id not in self.names
