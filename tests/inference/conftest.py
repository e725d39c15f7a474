"""What tests of predictions share with those of other rooms."""

from tests.helpers.minilm import folders
from tests.helpers.rows import bert, good_and_bad, rows, sixty_rows, sixty_texts, warm_rows

__all__ = ["bert", "folders", "good_and_bad", "rows", "sixty_rows", "sixty_texts", "warm_rows"]
