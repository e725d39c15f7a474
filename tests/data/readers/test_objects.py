"""Files of objects, and the splits that lie in one of them."""

import json

from adaptkit import Reading, load_splits
from adaptkit.data.readers.read import read
from tests.helpers.files import TEXT_LABEL, refused, write


def test_parts_of_one_json_file(tmp_path):
    content = {
        "train": [["a", "x"], ["b", "y"]],
        "val": [["c", "x"]],
        "test": [["d", "y"]],
        "oos_train": [["e", "oos"]],
    }
    path = write(tmp_path / "all.json", json.dumps(content))
    splits = load_splits(str(path), reading=Reading(wanted=TEXT_LABEL))
    assert [len(table) for _, table in splits.items()] == [2, 1, 1]
    assert "left out: oos_train" in splits.notes[0]
    assert (
        "all.json has several splits: read is 'train' (all.json#test reads another)"
        in read(path, Reading(wanted=TEXT_LABEL)).notes
    )
    both = load_splits(f"{path}#train+oos_train", reading=Reading(wanted=TEXT_LABEL))
    assert both.train.rows[2] == {"text": "e", "label": "oos"}
    assert both.train.where(2).endswith("all.json:oos_train[0]")
    refused(f"{path}#trian", "no list 'trian'.*Did you mean 'train'", wanted=TEXT_LABEL)
    refused(f"{path}#train", "list of 1 fields", wanted=("text",))
