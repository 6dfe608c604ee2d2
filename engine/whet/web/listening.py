"""Where a server listens, and who can reach it there."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from whet.errors import ConfigError

WAITING = 128  # connections that nobody accepted yet


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens, before anything slow is done.

    ConfigError if the port is taken, or the host is none of this machine's.
    """
    if not host.strip():
        raise ConfigError(
            "host is empty, which would mean every network of this machine. Leave it out for this "
            "machine alone, or say host=0.0.0.0."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=WAITING)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port={port} is taken, perhaps by another server of Whet's. Choose another, or "
                "port=0 for any that is free."
            ) from error
        raise ConfigError(
            f"host={host} port={port} cannot be listened on ({error.strerror or error}). "
            "Leave host out for this machine alone, or choose another port."
        ) from error
    # asyncio sends at once (TCP_NODELAY) only where the socket names its protocol; else the body of
    # each answer waits 40 ms until its head is acknowledged
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=made.detach())


def address_of(listening: socket.socket) -> IPv4Address | IPv6Address:
    """The address a socket is bound to, however the host was spelled."""
    return ip_address(listening.getsockname()[0])


def shown_host(host: str, listening: socket.socket) -> str:
    """The host as it stands in an address that others can open."""
    name = _own_names()[-1] if address_of(listening).is_unspecified else host
    return f"[{name}]" if ":" in name else name


def hosts_of(host: str, listening: socket.socket) -> list[str]:
    """The names under which the server may be asked for."""
    address = address_of(listening)
    names = ["localhost", "127.0.0.1", "::1", str(address), host]
    if address.is_unspecified:
        names += _own_names()
    bracketed = (f"[{name}]" if ":" in name else name for name in names)
    return list(dict.fromkeys(name.lower() for name in bracketed))


def warning_of(host: str, listening: socket.socket, what: str, risk: str) -> str:
    """What to say where others than this machine can reach `what`, and at what risk; "" where they
    cannot.
    """
    if address_of(listening).is_loopback:
        return ""
    return f"host={host}: everyone on this network can reach {what}, without encryption; {risk}."


def _own_names() -> list[str]:
    """This machine's name and addresses, as others of the network write them."""
    name = socket.gethostname()
    names = [name, f"{name}.local"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
            names.append(probe.getsockname()[0])
        except OSError:  # no network
            pass
    return names
