"""The SDK's unacknowledged commands: order, retries, and results that come twice or not at all."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.v1 import chat_pb2
from tidings_client import Backoff
from tidings_client._errors import SignedOutError, TidingsError
from tidings_client._send_buffer import PendingCommand, SendBuffer

MiB = 1 << 20
Outcome = chat_pb2.Accepted | TidingsError


class Sender:
    """An outbox, and what came of each message by its text."""

    def __init__(self) -> None:
        self.send_buffer = SendBuffer(lambda: Backoff(draw=lambda: 1.0))
        self.outcomes: dict[str, list[Outcome]] = {}
        self.ids = 0

    def send(self, text: str, channel_id: str = "a", name: str = "") -> PendingCommand:
        self.ids += 1
        command = chat_pb2.Command(
            command_id=self.ids,
            send_message=chat_pb2.SendMessage(channel_id=channel_id, text=text, client_message_id=name or text),
        )
        outcomes = self.outcomes.setdefault(text, [])
        return self.send_buffer.add(command, channel_id, outcomes.append)

    def take(self, now: float = 0.0, most: int = MiB) -> list[str]:
        return [command.send_message.text for command in self.send_buffer.take(now, most)]


@pytest.fixture
def sender() -> Sender:
    return Sender()


def busy(retry_after: float | None = None) -> TidingsError:
    error = TidingsError(grpc.StatusCode.UNAVAILABLE, "busy")
    error.retry_after = retry_after
    return error


def refused() -> TidingsError:
    return TidingsError(grpc.StatusCode.INVALID_ARGUMENT, "no")


def test_what_waits_in_several_channels_goes_together_in_order_and_once(sender: Sender) -> None:
    for text in "xyz":
        sender.send(text, channel_id=text)
    assert sender.send_buffer.due() == 0.0
    assert sender.take() == ["x", "y", "z"]
    assert sender.take() == []
    assert sender.send_buffer.due() is None
    assert len(sender.send_buffer) == 3


def test_a_frame_is_bounded_but_takes_at_least_one(sender: Sender) -> None:
    for text in ("x" * 300, "y" * 300, "z" * 5000):
        sender.send(text, channel_id=text)
    assert sender.take(most=400) == ["x" * 300]
    assert sender.send_buffer.due() == 0.0
    assert sender.take(most=400) == ["y" * 300]
    assert sender.take(most=400) == ["z" * 5000]


def test_in_a_channel_each_waits_for_the_result_of_the_one_before(sender: Sender) -> None:
    for text in "xyz":
        sender.send(text)
    assert sender.take() == ["x"]
    assert sender.take() == []
    assert sender.send_buffer.due() is None
    sender.send_buffer.accepted(1, chat_pb2.Accepted(seq=1))
    assert sender.send_buffer.due() == 0.0
    assert sender.take() == ["y"]
    sender.send_buffer.refused(2, refused(), 0.0)
    assert sender.take() == ["z"]


def test_one_that_was_given_up_on_its_way_still_holds_back_those_behind_it(sender: Sender) -> None:
    pending = sender.send("x")
    sender.send("y")
    assert sender.take() == ["x"]
    sender.send_buffer.abandon(pending)
    assert sender.take() == []
    sender.send_buffer.refused(1, busy(), 0.0)
    assert sender.take() == ["y"]


def test_each_result_goes_to_its_own_command_once(sender: Sender) -> None:
    sender.send("x", channel_id="x")
    sender.send("y", channel_id="y")
    sender.take()
    pending = sender.send_buffer.accepted(2, chat_pb2.Accepted(seq=7))
    assert pending is not None
    assert pending.command.send_message.text == "y"
    assert sender.send_buffer.accepted(2, chat_pb2.Accepted(seq=7)) is None
    assert sender.outcomes == {"x": [], "y": [chat_pb2.Accepted(seq=7)]}


def test_a_lost_stream_sends_everything_again_in_the_first_order(sender: Sender) -> None:
    for text in "wxyz":
        sender.send(text, channel_id=text)
    sender.take(most=1)
    sender.take(most=1)
    sender.send_buffer.accepted(1, chat_pb2.Accepted(seq=1))
    sender.send_buffer.lost()
    assert sender.take() == ["x", "y", "z"]


def test_a_refusal_for_good_is_the_result(sender: Sender) -> None:
    sender.send("x")
    sender.take()
    error = refused()
    sender.send_buffer.refused(1, error, 0.0)
    assert sender.outcomes["x"] == [error]
    assert len(sender.send_buffer) == 0


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED])
def test_a_passing_refusal_is_tried_again_and_holds_its_channel_back(sender: Sender, code: grpc.StatusCode) -> None:
    sender.send("x")
    sender.take()
    sender.send_buffer.refused(1, TidingsError(code, "later"), 5.0)
    sender.send("behind")
    sender.send("elsewhere", channel_id="b")
    assert sender.take(5.05) == ["elsewhere"]
    assert sender.send_buffer.due() == pytest.approx(5.1)
    assert sender.take(5.1) == ["x"]
    assert sender.outcomes["x"] == []
    sender.send_buffer.accepted(1, chat_pb2.Accepted(seq=1))
    assert sender.take(5.1) == ["behind"]


def test_too_fast_is_tried_again_when_the_server_says_so_and_too_much_is_not(sender: Sender) -> None:
    sender.send("fast", channel_id="a")
    sender.send("much", channel_id="b")
    sender.take()
    fast = TidingsError(grpc.StatusCode.RESOURCE_EXHAUSTED, "fast")
    fast.retry_after = 2.0
    much = TidingsError(grpc.StatusCode.RESOURCE_EXHAUSTED, "much")
    sender.send_buffer.refused(1, fast, 10.0)
    sender.send_buffer.refused(2, much, 10.0)
    assert sender.outcomes["much"] == [much]
    assert sender.take(11.9) == []
    assert sender.take(12.1) == ["fast"]


def test_refusals_of_several_are_tried_again_in_the_first_order(sender: Sender) -> None:
    for text in "xyz":
        sender.send(text, channel_id=text)
    sender.take()
    for command_id in (3, 1, 2):
        sender.send_buffer.refused(command_id, busy(), 0.0)
    assert sender.take(1.0) == ["x", "y", "z"]


def test_a_command_given_up_before_it_is_sent_is_never_sent(sender: Sender) -> None:
    pending = sender.send("x")
    sender.send("y")
    sender.send_buffer.abandon(pending)
    assert sender.take() == ["y"]


def test_a_command_given_up_on_its_way_is_not_sent_again(sender: Sender) -> None:
    pending = sender.send("x")
    sender.take()
    sender.send_buffer.abandon(pending)
    assert len(sender.send_buffer) == 1, "its result still tells of a step of the log"
    sender.send_buffer.lost()
    assert sender.take() == []
    assert len(sender.send_buffer) == 0


def test_a_message_that_appears_is_the_result_of_every_attempt_to_send_it(sender: Sender) -> None:
    sender.send("x", name="n")
    sender.take()
    sender.send("x", name="n")
    message = chat_pb2.Message(channel_id="a", client_message_id="n", seq=4, position=9)
    assert sender.send_buffer.appeared(message)
    assert not sender.send_buffer.appeared(message)
    assert [outcome.seq for outcome in sender.outcomes["x"] if isinstance(outcome, chat_pb2.Accepted)] == [4, 4]
    assert sender.take() == []


def test_the_same_name_in_another_channel_is_another_message(sender: Sender) -> None:
    sender.send("x", name="n")
    sender.take()
    assert not sender.send_buffer.appeared(chat_pb2.Message(channel_id="b", client_message_id="n", seq=4))


def test_the_end_reaches_everyone_with_an_exception_of_their_own(sender: Sender) -> None:
    sender.send("x")
    sender.take()
    sender.send("y")
    sender.send_buffer.fail(SignedOutError(grpc.StatusCode.UNAUTHENTICATED, "over"))
    (first,), (second,) = sender.outcomes["x"], sender.outcomes["y"]
    assert isinstance(first, SignedOutError)
    assert first is not second
    assert sender.send_buffer.due() is None


Step = Callable[[Sender], None]


@given(st.data())
def test_nothing_is_lost_doubled_or_overtaken_whatever_happens(data: st.DataObject) -> None:
    """Against a model: the commands of each channel, in order, that have no result yet.

    A server that refuses one of two that are on their way and takes the other would change their order.
    """
    sender, now = Sender(), 0.0
    open_: dict[str, list[int]] = {"a": [], "b": []}
    under_way: list[int] = []
    channel_of: dict[int, str] = {}
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([0.0, 0.05, 1.0, 20.0]))
        action = data.draw(st.sampled_from(["send", "take", "accept", "busy", "lose"]))
        if action == "send":
            channel_id = data.draw(st.sampled_from("ab"))
            sender.send(str(sender.ids + 1), channel_id)
            open_[channel_id].append(sender.ids)
            channel_of[sender.ids] = channel_id
        elif action == "take":
            taken = [command.command_id for command in sender.send_buffer.take(now, data.draw(st.integers(1, 500)))]
            for command_id in taken:
                assert command_id not in under_way
                earlier = [each for each in open_[channel_of[command_id]] if each < command_id]
                assert earlier == [], "it may overtake what has no result yet"
            under_way += taken
        elif action == "lose":
            sender.send_buffer.lost()
            under_way.clear()
        elif under_way:
            command_id = data.draw(st.sampled_from(under_way))
            under_way.remove(command_id)
            if action == "accept":
                sender.send_buffer.accepted(command_id, chat_pb2.Accepted(seq=command_id))
                open_[channel_of[command_id]].remove(command_id)
            else:
                sender.send_buffer.refused(command_id, busy(data.draw(st.sampled_from([None, 3.0]))), now)
    rest = sorted(open_["a"] + open_["b"])
    assert len(sender.send_buffer) == len(rest)
    sender.send_buffer.lost()
    again: list[int] = []
    while commands := sender.send_buffer.take(now + 1000, MiB):
        for command in commands:
            again.append(command.command_id)
            sender.send_buffer.accepted(command.command_id, chat_pb2.Accepted(seq=command.command_id))
    assert sorted(again) == rest
    for waiting in open_.values():
        assert [each for each in again if each in waiting] == waiting
    assert all(len(outcomes) <= 1 for outcomes in sender.outcomes.values())
