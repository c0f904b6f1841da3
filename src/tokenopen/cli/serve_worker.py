"""A supervised worker: started by ``tokenopen serve --workers N`` as a fresh process, never by hand.

Its arguments are descriptors that it inherits: the listening socket, a pipe to tell on that it is ready, and
one that ends when the supervisor does; and a directory for what the workers count.
"""

import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path

import typer
import uvloop

from tokenopen.cli.log import configure_logging
from tokenopen.bootstrap import Platform, StartupError
from tokenopen.cli.serve_process import serve_platform
from tokenopen.cli.setting import ControlError, read_settings


def main(meter_directory: str, listener: int, ready: int, supervisor: int) -> None:
    """Serve on the inherited socket until told to stop; exit 1 where that cannot begin."""
    # Until the platform is up, neither a closing terminal nor a rolling restart concerns this process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    configure_logging()

    def tell(platform: Platform) -> None:
        # A supervisor that ended meanwhile is noticed by its own descriptor.
        with contextlib.suppress(BrokenPipeError), os.fdopen(ready, "w") as pipe:
            json.dump(None if platform.first_start is None else asdict(platform.first_start), pipe)

    with socket.socket(fileno=listener) as inherited:
        try:
            uvloop.run(
                serve_platform(
                    read_settings(),
                    inherited,
                    on_ready=tell,
                    supervisor=supervisor,
                    meter_directory=Path(meter_directory),
                )
            )
        except (ControlError, StartupError) as error:
            typer.echo(f"TokenOpen cannot start: {error}", err=True)
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[4], *map(int, sys.argv[1:4]))
