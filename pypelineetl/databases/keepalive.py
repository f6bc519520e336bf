"""How soon each side finds out that the other is gone without a word: its machine without power, or
the network down.

The systems' own answer is two hours, for which a run would wait, and the locks of one that is gone
be held. Probes also keep firewalls from forgetting a connection over which nothing goes while a
query runs.
"""

import socket

IDLE_SECONDS = 60
INTERVAL_SECONDS = 10
PROBES = 6

# Not every system can be told all of them.
_OPTIONS = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPINTVL", INTERVAL_SECONDS),
    ("TCP_KEEPCNT", PROBES),
)


def keep_alive(connection: socket.socket) -> None:
    """Have this side probe a connection over TCP; one through a socket file needs none."""
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
