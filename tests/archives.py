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


@contextlib.contextmanager
def unreliable(content, behaviours):
    """Serve bytes by a list of behaviours, one for each request; the last one stays.

    ok, cut (half of what was asked for, then the connection breaks), ignore_range, busy (503),
    throttled (429), short (half, of unknown length), encoded (says that it is compressed on the
    way). Gives the address and the ranges asked for.
    """
    asked, left = [], list(behaviours)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked.append(self.headers.get("Range"))
            behaviour = left.pop(0) if len(left) > 1 else left[0]
            if behaviour in ("busy", "throttled"):
                self.send_response(503 if behaviour == "busy" else 429)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body, start = content, 0
            if self.headers.get("Range") and behaviour != "ignore_range":
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            body = body[start:]
            if behaviour == "encoded":
                self.send_header("Content-Encoding", "x-gzip")
            if behaviour == "short":
                self.close_connection = True
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if behaviour == "cut" else body)
            if behaviour == "cut":
                self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/big.tar.gz", asked
        server.shutdown()


def archive_of(mixtures, path):
    """Pack mixtures as FUSS is packed: everything in `ssdata_reverb/`."""
    with tarfile.open(path, "w:gz") as tar:
        for name in ("train", "validation", "eval"):
            tar.add(mixtures / name, f"ssdata_reverb/{name}")
            listed = f"{name}_example_list.txt"
            tar.add(mixtures / listed, f"ssdata_reverb/{listed}")
    return path
