"""Archives in the layout of FUSS, and a server on loopback that offers them."""

import contextlib
import functools
import http.server
import tarfile
import threading


@contextlib.contextmanager
def served(folder):
    """Serve a folder on loopback; gives its address and the list of what was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def archive_of(mixtures, path):
    """Pack mixtures as FUSS is packed: everything in `ssdata_reverb/`."""
    with tarfile.open(path, "w:gz") as tar:
        for name in ("train", "validation", "eval"):
            tar.add(mixtures / name, f"ssdata_reverb/{name}")
            listed = f"{name}_example_list.txt"
            tar.add(mixtures / listed, f"ssdata_reverb/{listed}")
    return path
