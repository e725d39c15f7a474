"""A missing file is told at once."""

import subprocess
import sys


def test_a_missing_file_is_told_before_the_imports(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    code = f"""
import sys
from adaptkit.recipes import classify
from adaptkit.errors import AdaptkitError
try:
    classify.main(["--train_file", r"{tmp_path / "row.csv"}"])
except AdaptkitError as error:
    print(error, "torch" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert (
        said
        == f"there is no file {tmp_path / 'row.csv'}. Did you mean {tmp_path / 'rows.csv'}? False\n"
    )
