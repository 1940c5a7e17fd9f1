"""`weir up`: starts everything in order, says how to use it, and stays until it is told to stop.

Called by the CLI. What runs and in which order stands in `plan.py`; this is what a user sees of it.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

import msgspec

from shared.config import Settings, environment

from .child import StartError, describe_status
from .data_dir import DataDir
from .display import Display
from .files import forget, write_private
from .plan import Options, Plan
from .supervisor import Supervisor
from .welcome import Summary, welcome


def run(options: Options) -> int:
    """Return the exit status. Raises ConfigError for what the operator can mend."""
    overrides = {"WEIR_LOG_LEVEL": options.log_level} if options.log_level else {}
    env = environment(overrides)
    settings = Settings.from_env(env)
    data = DataDir(options.data or settings.data_dir)
    if options.ready_file:
        forget(options.ready_file)
    plan = Plan(options, settings, env, data)
    try:
        return asyncio.run(_run(plan, data, options.ready_file))
    except StartError as error:
        return _explain(error)


async def _run(plan: Plan, data: DataDir, ready_file: Path | None) -> int:
    display = Display()
    asked_to_stop = asyncio.Event()
    async with Supervisor(data.logs, display.say) as supervisor:

        def interrupt() -> None:
            if asked_to_stop.is_set():
                supervisor.kill()
            asked_to_stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupt)
        display.say(f"Starting weir, data in {data.path}")
        summary = await _unless(asked_to_stop, plan.start(supervisor, display))
        if summary is not None:
            display.say(welcome(summary))
            if ready_file:
                write_private(ready_file, _ready_file(summary, supervisor.pids()))
            await asked_to_stop.wait()
            if ready_file:
                forget(ready_file)
        display.stop_waiting()
        display.say("\nStopping (Ctrl-C again to kill) ...")
    display.say("Stopped.")
    return 0


async def _unless(stop: asyncio.Event, starting: Coroutine[None, None, Summary]) -> Summary | None:
    """Return the result, or None if `stop` came first."""
    loop = asyncio.get_running_loop()
    start, stopped = loop.create_task(starting), loop.create_task(stop.wait())
    await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if start.done():
        return start.result()
    start.cancel()
    await asyncio.wait({start})
    return None


def _ready_file(summary: Summary, pids: dict[str, int]) -> bytes:
    content = msgspec.json.encode({**msgspec.structs.asdict(summary), "pids": pids})
    return msgspec.json.format(content, indent=2) + b"\n"


def _explain(error: StartError) -> int:
    """Say why a part did not start: in its own line if the operator can mend it."""
    own_words = [line for line in error.lines if line.startswith("weir")]
    if error.status == 2 and own_words:
        print(own_words[-1], file=sys.stderr)
        return 2
    print(f"weir: {error} ({describe_status(error.status)}). It said:", file=sys.stderr)
    print(*(f"  {line}" for line in error.lines), sep="\n", file=sys.stderr)
    return 1
