"""``tokenopen backup`` and ``restore``: one file, from a running server, and the installation again."""

import contextlib
import io
import json
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import ADMIN_KEY, Platform, Server
from tokenopen.bootstrap.backup import back_up, restore
from tokenopen.bootstrap.database import DatabaseError
from tokenopen.settings import Settings
from tokenopen.simulator.process import SimulatorProcess
from tokenopen.storage.backup import MANIFEST_FILE
from tokenopen.storage.secret import SECRET_FILE
from tokenopen.storage.sqlite import DATABASE_FILE

pytestmark = pytest.mark.slow

CALL = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def made(simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A backup made under load, and the API key that was calling."""
    directory = tmp_path_factory.mktemp("backup")
    file = directory / "made.backup"
    with Server(directory / "data") as server:
        platform = Platform(server, simulator)
        platform.add_upstream(["gpt-4o-mini"])
        platform.add_group("wide")
        key = platform.add_key(platform.add_user(credit="10"), "wide")
        ended = threading.Event()
        answered: list[int] = []
        threads = [
            threading.Thread(target=_keep_calling, args=(server.url, key, ended, answered)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        done = server.run_cli("backup", str(file))
        ended.set()
        for thread in threads:
            thread.join()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "with its secret" in done.stdout
        assert "audit: 0 drift" in done.stdout
        running = settings(directory / "data")
        with pytest.raises(DatabaseError, match="is there already"):
            back_up(running, file, overwrite=False, on_copied=lambda *_: None)
        back_up(running, file, overwrite=True, on_copied=lambda *_: None)
        with pytest.raises(DatabaseError, match="in use by another TokenOpen"):
            restore(running, file, replace=True)
        platform.admin.close()
    assert set(answered) == {200}
    return file, key


def _keep_calling(url: str, key: str, ended: threading.Event, answered: list[int]) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        while not ended.is_set():
            answered.append(client.post("/v1/chat/completions", json=CALL).status_code)


def settings(directory: Path, **more: str) -> Settings:
    return Settings(data_dir=directory, **more)  # type: ignore[arg-type]


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_a_backup_made_under_load_is_the_installation_again(
    made: tuple[Path, str], simulator: SimulatorProcess, tmp_path: Path
) -> None:
    file, key = made
    with Server(tmp_path / "data") as server:
        server.stop()
        with pytest.raises(DatabaseError, match="There is an installation"):
            restore(settings(tmp_path / "data"), file, replace=False)
        done = server.run_cli("restore", str(file), "--replace")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "audit: 0 drift" in done.stdout
        (aside,) = (tmp_path / "data").glob("before-restore-*")
        assert {path.name for path in aside.iterdir()} >= {DATABASE_FILE, SECRET_FILE}
        assert not list((tmp_path / "data").glob("*-wal"))
        server.start()
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json=CALL,
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        # The key is told and the credential opened: the secret is the right one.
        assert answer.status_code == 200, answer.text
        # What ran when the backup was made is not held for ever.
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as admin:
            assert admin.get("/api/admin/calls", params={"state": "held"}).json()["data"] == []


def test_a_backup_is_for_its_owner_only_and_says_what_is_in_it(made: tuple[Path, str]) -> None:
    file, _ = made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in file.parent.iterdir() if "backup" in path.name) == [file.name]
    manifest = json.loads(contents(file)[MANIFEST_FILE])
    assert set(manifest["files"]) == {DATABASE_FILE, SECRET_FILE}
    with tarfile.open(file) as archive:
        assert {entry.mode for entry in archive} == {0o600}


def _cut(file: Path, name: str, content: bytes) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip(file: Path, name: str, content: bytes) -> None:
    raw = bytearray(file.read_bytes())
    place = raw.find(b"SQLite format 3") + 200
    raw[place] ^= 1
    file.write_bytes(bytes(raw))


def _rewrite(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path, str, bytes], None]:
    def write(file: Path, name: str, content: bytes) -> None:
        parts = contents(file)
        change(parts)
        with tarfile.open(file, "w") as archive:
            for part, data in parts.items():
                entry = tarfile.TarInfo(part)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    return write


def _outside(parts: dict[str, bytes]) -> None:
    manifest = json.loads(parts[MANIFEST_FILE])
    manifest["files"]["../evil"] = manifest["files"].pop(SECRET_FILE)
    parts[MANIFEST_FILE] = json.dumps(manifest).encode()
    parts["../evil"] = parts.pop(SECRET_FILE)


def _not_ours(parts: dict[str, bytes]) -> None:
    del parts[MANIFEST_FILE]


def _newer(parts: dict[str, bytes]) -> None:
    parts[MANIFEST_FILE] = parts[MANIFEST_FILE].replace(b'"format": 1', b'"format": 2')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_cut, "not whole"),
        (_flip, "is damaged"),
        (_rewrite(_outside), "other files"),
        (_rewrite(_not_ours), "does not begin with a manifest"),
        (_rewrite(_newer), "in a format of its own"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    made: tuple[Path, str],
    tmp_path: Path,
    damage: Callable[[Path, str, bytes], None],
    says: str,
) -> None:
    file = tmp_path / "damaged.backup"
    file.write_bytes(made[0].read_bytes())
    damage(file, "", b"")
    data = tmp_path / "data"
    data.mkdir()
    (data / DATABASE_FILE).write_bytes(b"what was there")
    with pytest.raises(DatabaseError, match=says):
        restore(settings(data), file, replace=True)
    assert (data / DATABASE_FILE).read_bytes() == b"what was there"
    assert {path.name for path in data.iterdir()} == {DATABASE_FILE, "tokenopen.lock"}


def test_a_secret_of_another_installation_is_refused(made: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="not the one that this database was set up with"):
        restore(settings(tmp_path / "data", secret_key="s" * 32), made[0], replace=False)
    with pytest.raises(DatabaseError, match="for the embedded database"):
        restore(settings(tmp_path, database_url="postgresql://x@localhost/y"), made[0], replace=False)


def test_books_that_are_not_sound_are_told(made: tuple[Path, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert restore(settings(data), made[0], replace=False).audit.drift_count == 0
    with contextlib.closing(sqlite3.connect(data / DATABASE_FILE)) as connection, connection:
        connection.execute("UPDATE accounts SET balance = balance + 1 WHERE entry_count > 0")
    done = back_up(settings(data), tmp_path / "x", overwrite=False, on_copied=lambda *_: None)
    assert done.audit.drift_counts["I1"] == 1
    assert restore(settings(tmp_path / "other"), tmp_path / "x", replace=False).audit.drift_counts["I1"] == 1


def test_a_secret_that_the_operator_keeps_is_not_in_it(made: tuple[Path, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    restore(settings(data), made[0], replace=False)
    secret = (data / SECRET_FILE).read_text().strip()
    kept = settings(data, secret_key=secret)
    done = back_up(kept, tmp_path / "x", overwrite=False, on_copied=lambda *_: None)
    assert not done.manifest.has_secret
    with pytest.raises(DatabaseError, match="The secret is not with the database"):
        restore(settings(tmp_path / "other"), tmp_path / "x", replace=False)
    restore(settings(tmp_path / "other", secret_key=secret), tmp_path / "x", replace=False)
