"""Attacks on the library from outside: hostile folders and files, random text, kills, threads.

Each part is a test with a small draw, and a command that runs all of it:

    python -m tests.trust.hostile
    python -m tests.trust.fuzz --minutes 30
"""
