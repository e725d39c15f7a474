"""Files in the shapes that tools and data sets have, and what reading them for a task gives."""
