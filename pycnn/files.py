"""Files that are either whole or as they were: a reader never sees half of one, nor does Ctrl-C leave one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write, put in place of `path` on leaving the `with` block unless that raised.

    Raises:
        OSError: the folder does not exist or is not writable; `path` is untouched.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder")
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
        try:
            yield part
            part.close()
            os.chmod(part.name, 0o644)
            os.replace(part.name, target)
        except BaseException:
            os.unlink(part.name)
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8; `path` is whole or as it was."""
    with whole_file(path) as file:
        file.write(text.encode())
