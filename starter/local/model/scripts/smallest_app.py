"""The smallest app that passes a build's checks: one page, one test, nothing but the standard library."""

APP = '''"""One page."""
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def page():
    return "<!doctype html><title>Hello</title><h1>Hello from a small build</h1>"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
'''

TEST = """import unittest

from app import page


class PageTest(unittest.TestCase):
    def test_the_page_greets(self):
        self.assertIn("Hello", page())
"""

CHECK = "python3 -m unittest discover -s tests -t . 2>&1"


def write_by_shell() -> str:
    """Return the shell command that writes the app and its test."""
    return (
        "mkdir -p tests && : > tests/__init__.py\n"
        f"cat > app.py <<'APP'\n{APP}APP\n"
        f"cat > tests/test_app.py <<'TEST'\n{TEST}TEST"
    )
