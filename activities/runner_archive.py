"""Builds the runner's archive from the package's sources: the same bytes for the same sources, anywhere."""

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

_PACKAGE = "nightshift_runner"
_MAIN = f"""import sys

sys.path.insert(0, sys.argv[0] + ".DIGEST")
from {_PACKAGE}.__main__ import main

main()
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@cache
def archive() -> tuple[str, bytes]:
    """Give (first 12 hex digits of the sha256, bytes) of the zip that `python3` runs."""
    sources = sorted((Path(__file__).parent / "runner").glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN.replace("DIGEST", digest[:12]))
        for source in sources:
            file.writestr(zipfile.ZipInfo(f"{_PACKAGE}/{source.name}", _EPOCH), source.read_bytes())
    data = content.getvalue()
    return hashlib.sha256(data).hexdigest()[:12], data
