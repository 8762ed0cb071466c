"""Failures of our own, as they may be logged."""

from __future__ import annotations


def without_message(error: BaseException) -> BaseException:
    """The class and the place of an exception, for `exc_info`.

    What an exception says may hold a text or a secret, and those never reach a log.
    """
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
