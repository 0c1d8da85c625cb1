"""Serves until it is ended."""

import sys
import threading

from . import serve

_server, url = serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
print(url, flush=True)
threading.Event().wait()
