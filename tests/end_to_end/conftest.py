"""What whole runs share with the tests of rooms."""

from tests.helpers.many_tasks import tasks
from tests.helpers.small import small

__all__ = ["small", "tasks"]
