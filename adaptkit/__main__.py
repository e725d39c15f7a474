"""`python -m adaptkit`: the same as `adaptkit`."""

from adaptkit.cli import entry

if __name__ == "__main__":
    entry()
