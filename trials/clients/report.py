"""What a client's script prints: a line of JSON for each step, so that one failure hides no other."""

import json
import sys
from collections.abc import Callable


class Report:
    """Runs each step where it is defined."""

    def __init__(self) -> None:
        self._failed = False

    def step(self, name: str) -> Callable[[Callable[[], None]], None]:
        """Run a function as the step of a name."""

        def run(function: Callable[[], None]) -> None:
            try:
                function()
            except Exception as error:
                self._failed = True
                _say({"step": name, "ok": False, "why": repr(error)[:300]})
            else:
                _say({"step": name, "ok": True})

        return run

    def end(self) -> None:
        """End the script; its exit code says whether every step passed."""
        sys.exit(self._failed)


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
