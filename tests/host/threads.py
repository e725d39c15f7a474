"""Threads that must come to an end."""

import threading


def within(seconds: float, action) -> None:
    """Run in another thread; a hang is a failure."""
    done, problems = threading.Event(), []

    def run():
        try:
            action()
        except BaseException as problem:
            problems.append(problem)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(seconds), "it hangs"
    if problems:
        raise problems[0]
