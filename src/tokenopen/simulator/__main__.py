"""``python -m tokenopen.simulator --port 0 --log FILE``: prints the port on its first line, then serves."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from tokenopen.simulator.model import MODELS_DEFAULT
from tokenopen.simulator.server import serve


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tokenopen.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="append one JSON line per call to this file")
    parser.add_argument("--record", action="store_true", help="keep the last calls for GET /_simulator/calls")
    parser.add_argument("--model", action="append", help="list this model; may be given more than once")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started it"
    )
    return parser.parse_args()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the simulator until it is told to end."""
    arguments = _arguments()
    if arguments.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    serve(
        host=arguments.host,
        port=arguments.port,
        log_path=arguments.log,
        record=arguments.record,
        models=arguments.model or MODELS_DEFAULT,
        ready=lambda port: print(port, flush=True),  # noqa: T201 - the parent reads it
    )


if __name__ == "__main__":
    main()
