"""Lines of plain text, and parallel files."""

import pytest

from adaptkit import AdaptkitError, Reading
from adaptkit.data.readers.read import read
from adaptkit.tasks.translate import Translate
from tests.helpers.files import refused, write


def test_parallel_files(tmp_path):
    write(tmp_path / "t.en", "one\u2028two\n\nthree\n")
    write(tmp_path / "t.de", "eins zwei\n\ndrei\n")
    table = read(tmp_path / "t.en", Reading(languages=("en", "de")))
    assert table.rows[1] == {"source": "three", "target": "drei"}
    assert table.where(1).endswith("t.en:3")
    write(tmp_path / "t.fr", "un deux\n\n")
    refused(tmp_path / "t.en", "3 lines and t.fr 2: they are not parallel", languages=("en", "fr"))
    refused(tmp_path / "t.en", "there is no file .*t.es", languages=("en", "es"))
    write(tmp_path / "t.it", "uno due\n\n \n")
    with pytest.raises(AdaptkitError, match=r"t\.en:3: the text in column 'target' is empty"):
        Translate().read(read(tmp_path / "t.en", Reading(languages=("en", "it"))))


def test_a_text_of_lines_that_begin_alike_loses_no_word(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"The lamp number {i} is on.\n" for i in range(30)))
    table = read(tmp_path / "a.txt", Reading(wanted=("text",)))
    assert table.rows[3] == {"text": "The lamp number 3 is on."}
    assert read(tmp_path / "a.txt", Reading(wanted=("source", "target"))).rows[3] == {
        "source": "The lamp number 3 is on."
    }
