"""Bases and rows that the tests of recipes share."""

from tests.helpers.many_tasks import tasks
from tests.helpers.rows import bert, rows, warm_rows
from tests.helpers.small import small

__all__ = ["bert", "rows", "small", "tasks", "warm_rows"]
