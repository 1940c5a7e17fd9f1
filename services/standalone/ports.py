"""Which ports `weir up` takes, decided before anything is started."""

import errno
import socket

from shared.config import ConfigError


def is_free(host: str, port: int) -> bool:
    """Raise ConfigError if the host is none of this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise ConfigError(f"the host {host} is unknown") from None
    except PermissionError:
        raise ConfigError(f"port {port} needs privileges that this process lacks") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    return True


def claim(port: int, option: str, host: str = "127.0.0.1") -> int:
    """Return the port, which somebody asked for. Raise ConfigError if it is in use."""
    if not is_free(host, port):
        raise ConfigError(f"port {port} is in use: choose another with {option}")
    return port


def prefer(asked: int | None, usual: int, option: str) -> int:
    """Return the port asked for, else the usual one if it is free, else 0: whichever is."""
    if asked is not None:
        return claim(asked, option)
    return usual if is_free("127.0.0.1", usual) else 0
