"""Tables on a terminal: as wide as the characters are."""

from adaptkit.utils.terminal import format_table


def test_columns_stay_aligned_behind_wide_characters():
    table = format_table([("label", "rows"), ("水壶漏水", "2"), ("kettle", "10")])
    assert table == "label     rows\n水壶漏水  2\nkettle    10"


def test_what_a_terminal_does_not_print_is_a_blank():
    assert format_table([("a", "b"), ("x\ny", "1\x1b[31m")]) == "a    b\nx y  1 [31m"
    assert format_table([("name", "kB"), ("007", "1e3")]).endswith("007     1e3")
