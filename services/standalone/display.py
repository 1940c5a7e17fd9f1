"""What `weir up` shows while it starts: one line a part, with the time that it took.

On a terminal the last line says what is being waited for; into a file or a pipe go plain lines.
Nobody reading any more (`weir up | tee` and Ctrl-C) is no reason to stop in disorder.
"""

import contextlib
import sys
import time


class Display:
    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._clear = "\r\x1b[K" if self._live else ""
        self._waiting: dict[str, float] = {}

    def begin(self, role: str) -> None:
        self._waiting[role] = time.monotonic()
        self._show_waiting()

    def ready(self, role: str, note: str = "") -> None:
        seconds = time.monotonic() - self._waiting.pop(role)
        self.say(f"  {role:<11} ready in {seconds:4.1f} s   {note}".rstrip())

    def say(self, line: str) -> None:
        self._print(f"{self._clear}{line}\n")
        self._show_waiting()

    def stop_waiting(self) -> None:
        if self._waiting:
            self._print(self._clear)
        self._waiting.clear()

    def _show_waiting(self) -> None:
        if self._live and self._waiting:
            self._print(f"{self._clear}  starting {', '.join(self._waiting)} ...")

    def _print(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(text, end="", flush=True)
