"""Files that tests write, and what reading them says."""

import pytest

from adaptkit import AdaptkitError, Reading
from adaptkit.data.readers.read import read

TEXT_LABEL = ("text", "label")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, message, **how):
    with pytest.raises(AdaptkitError, match=message):
        read(path, Reading(**how))
