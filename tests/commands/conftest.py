"""What tests of commands share with those of other rooms."""

from tests.helpers.minilm import folders
from tests.helpers.rows import rows, sixty_texts

__all__ = ["folders", "rows", "sixty_texts"]
