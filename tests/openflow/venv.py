"""A Python environment with packages from PyPI, made once under target/ and used again."""

import fcntl
import subprocess
import sys

import host
from host import Failed

PACKAGES = {"os-ken": ("os-ken==4.2.0", "eventlet==0.41.3")}


def python(name):
    """The interpreter that has this package; Failed when it cannot be installed, as without a network."""
    directory = host.ROOT / "target" / "openflow" / name
    interpreter, complete = directory / "bin" / "python", directory / "complete"
    directory.mkdir(parents=True, exist_ok=True)
    wanted = " ".join(PACKAGES[name])
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists() or complete.read_text() != wanted:
            made = [sys.executable, "-m", "venv", "--clear", directory]
            fetched = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]]
            for command in (made, fetched):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    said = (done.stderr or done.stdout).strip().splitlines() or ["failed"]
                    raise Failed(f"{name} cannot be installed: {said[-1]}")
            complete.write_text(wanted)
    return interpreter
