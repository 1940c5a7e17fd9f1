"""A child ends with its parent, even when the parent was killed and could say nothing.

Linux has the kernel do it: `ends_with_parent` runs in the new process before the program. Where
the kernel cannot, a role watches its parent (`watch_parent`), and a program that is not ours is
started through this module, which watches for it (`tethered`).
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

KERNEL_WATCHES = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SECONDS_BETWEEN_LOOKS = 0.5
_libc = ctypes.CDLL(None, use_errno=True) if KERNEL_WATCHES else None


def ends_with_parent() -> Callable[[], None] | None:
    """Return what the new process must call between fork and exec."""
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_kernel


def watch_parent() -> None:
    """Kill this process when its parent is gone, where the kernel does not."""
    if KERNEL_WATCHES:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command line for a program that is not ours."""
    if KERNEL_WATCHES:
        return list(command)
    return [sys.executable, "-P", "-m", __name__, *command]


def _run_tethered(command: Sequence[str]) -> int:
    parent = os.getppid()
    with subprocess.Popen(command) as program:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: program.send_signal(received))
        while os.getppid() == parent:
            try:
                return program.wait(_SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                continue
        program.kill()
        return program.wait()


if __name__ == "__main__":
    sys.exit(abs(_run_tethered(sys.argv[1:])))
