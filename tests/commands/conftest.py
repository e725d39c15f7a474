"""What tests of commands share with those of other rooms."""

from tests.helpers.minilm import folders
from tests.helpers.rows import bert, rows, sixty_texts

__all__ = ["bert", "folders", "rows", "sixty_texts"]
