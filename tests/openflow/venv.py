"""Python environments with packages from PyPI, made once under target/ and used again."""

import fcntl
import subprocess
import sys

import host
from host import Failed

PLACE = host.ROOT / "target" / "openflow"
PACKAGES = {"os-ken": ("os-ken==4.2.0", "eventlet==0.41.3"), "faucet": ("faucet==1.10.12",)}
# The last os-ken that brought its example controllers along. They run with the current one's library.
EXAMPLES = "os-ken==1.0.0"


def python(name):
    """The interpreter that has this package; Failed when it cannot be installed, as without a network."""
    directory = PLACE / name
    interpreter = directory / "bin" / "python"
    install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]]
    made_once(directory, [sys.executable, "-m", "venv", "--clear", directory], install)
    return interpreter


def examples():
    """The directory with os-ken's example controllers."""
    directory = PLACE / "os-ken-examples"
    install = [python("os-ken"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    made_once(directory, [*install, "--upgrade", "--target", directory, EXAMPLES])
    return directory / "os_ken" / "app"


def made_once(directory, *commands):
    directory.mkdir(parents=True, exist_ok=True)
    complete, wanted = directory / "complete", str(commands)
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_text() == wanted:
            return
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["failed"]
                raise Failed(f"{directory.name} cannot be installed: {said[-1]}")
        complete.write_text(wanted)
