"""The reasons of refusals have names, and an application compares with those."""

from __future__ import annotations

import pytest

from tests.support.sdk_fake import status
from tidings.v1 import errors_pb2
from tidings_client import reason_word
from tidings_client._errors import from_status


@pytest.mark.parametrize("reason", [each for each in errors_pb2.ErrorReason.values() if each])
def test_a_refusal_has_the_word_of_its_reason(reason: errors_pb2.ErrorReason) -> None:
    error = from_status(status("ABORTED", reason=errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")))
    assert error.reason == reason_word(reason)


def test_a_word_is_written_without_the_prefix() -> None:
    assert reason_word(errors_pb2.ERROR_REASON_BLOCKED) == "BLOCKED"
