"""Put first on PYTHONPATH, this unplugs the network of a process and its children: loopback alone is left."""

import socket

_connect = socket.socket.connect
_LOOPBACK = ("127.", "::1", "localhost")


def connect(self: socket.socket, address: object) -> None:
    if self.family in {socket.AF_INET, socket.AF_INET6} and not str(address[0]).startswith(_LOOPBACK):  # type: ignore[index]
        raise OSError(f"a test without a network tried to reach {address}")
    return _connect(self, address)  # type: ignore[arg-type]


def getaddrinfo(host: object, *args: object, **kwargs: object) -> object:
    if host is not None and not str(host).startswith(_LOOPBACK):
        raise OSError(f"a test without a network asked for the address of {host}")
    return _getaddrinfo(host, *args, **kwargs)  # type: ignore[arg-type]


_getaddrinfo = socket.getaddrinfo
socket.socket.connect = connect  # type: ignore[assignment, method-assign]
socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
