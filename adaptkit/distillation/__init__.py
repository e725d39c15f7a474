"""Teachers, students and feature losses."""
