"""Tables on a terminal: as wide as the characters are."""

import subprocess
import sys

from adaptkit.utils.terminal import format_table


def test_columns_stay_aligned_behind_wide_characters():
    table = format_table([("label", "rows"), ("水壶漏水", "2"), ("kettle", "10")])
    assert table == "label     rows\n水壶漏水  2\nkettle    10"


def test_what_a_terminal_does_not_print_is_a_blank():
    assert format_table([("a", "b"), ("x\ny", "1\x1b[31m")]) == "a    b\nx y  1 [31m"
    assert format_table([("name", "kB"), ("007", "1e3")]).endswith("007     1e3")


def test_output_on_a_full_disk_is_one_message():
    script = "from adaptkit.utils.terminal import guarded; guarded(lambda: print('x' * 100_000))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == "error: what this command prints cannot be written: the disk is full.\n"
    assert done.returncode == 2


def test_ctrl_c_is_one_line():
    script = "import signal; from adaptkit.utils.terminal import guarded; "
    script += "guarded(lambda: signal.raise_signal(signal.SIGINT))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "\nstopped by Ctrl-C\n")
