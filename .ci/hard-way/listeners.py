"""Takes ports on 127.0.0.1 until it is ended: accepts connections and never answers them.

Arguments: a file to make once all are taken, then the ports.
"""

import pathlib
import selectors
import socket
import sys

ready, ports = pathlib.Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]
accepted = []
with selectors.DefaultSelector() as selector:
    for port in ports:
        listener = socket.create_server(("127.0.0.1", port))
        selector.register(listener, selectors.EVENT_READ)
    ready.touch()
    while True:
        for key, _ in selector.select():
            accepted.append(key.fileobj.accept())
