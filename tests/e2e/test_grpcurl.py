"""What an operator does with grpcurl: nothing but reflection tells it about the services."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

COMPOSITIONS = ("embedded", "mesh")

_GRPCURL = Path(__file__).parents[2] / ".build" / "bin" / "grpcurl"
_SERVICES = ("Account", "Channel", "Chat", "Contact", "Discovery", "History", "Presence", "Push")


async def grpcurl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        _GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def call(endpoint: str, method: str, request: dict[str, Any], token: str = "") -> dict[str, Any]:
    headers = ("-H", f"authorization: Bearer {token}") if token else ()
    answer = await grpcurl(*headers, "-d", json.dumps(request), endpoint, f"tidings.v1.{method}")
    return dict(json.loads(answer))


async def addresses(endpoint: str) -> dict[str, str]:
    """Where each service is, as discovery tells it."""
    found = dict.fromkeys(_SERVICES, endpoint)
    for service in ("Chat", "Presence"):
        kind = f"SERVER_KIND_{service.upper()}"
        answer = await call(endpoint, "DiscoveryService/RecommendServers", {"kind": kind})
        found[service] = answer["servers"][0]["endpoint"]
    return found


async def test_it_lists_every_service(endpoint: str) -> None:
    for name, address in (await addresses(endpoint)).items():
        listed = set((await grpcurl(address, "list")).split())
        assert f"tidings.v1.{name}Service" in listed
        assert listed >= {"grpc.health.v1.Health", "grpc.channelz.v1.Channelz", "grpc.reflection.v1.ServerReflection"}


async def test_it_describes_everything(endpoint: str) -> None:
    chat = (await addresses(endpoint))["Chat"]
    assert "rpc Converse ( stream .tidings.v1.ConverseRequest )" in await grpcurl(
        chat, "describe", "tidings.v1.ChatService"
    )
    assert "client_message_id" in await grpcurl(chat, "describe", "tidings.v1.SendMessage")
    assert "ServerReflection" in await grpcurl(chat, "describe")


async def test_health_is_told_by_service(endpoint: str) -> None:
    found = await addresses(endpoint)
    services = {f"tidings.v1.{name}Service": address for name, address in found.items()}
    for service, address in {"": endpoint, **services}.items():
        request = json.dumps({"service": service})
        assert "SERVING" in await grpcurl("-d", request, address, "grpc.health.v1.Health/Check")


async def test_it_signs_up_and_holds_a_conversation(endpoint: str) -> None:
    ann, bob = [
        await call(endpoint, "AccountService/SignUp", {"username": f"{name}-grpcurl", "password": "correct horse"})
        for name in ("ann", "bob")
    ]
    server = ann["servers"][0]["endpoint"]
    token = ann["tokens"]["access_token"]
    opened = await call(endpoint, "ChannelService/OpenDirectChannel", {"user_id": bob["user"]["user_id"]}, token)
    channel_id = opened["channel"]["channel_id"]
    frames = [
        {"commands": [{"command_id": 1, "hello": {}}]},
        *(
            {"commands": [{"command_id": 1 + n, "send_message": {
                "client_message_id": f"m{n}", "channel_id": channel_id, "text": f"message {n}"}}]}
            for n in (1, 2)
        ),
    ]  # fmt: skip
    output = await grpcurl(
        "-H", f"authorization: Bearer {token}", "-d", "\n".join(map(json.dumps, frames)), server,
        "tidings.v1.ChatService/Converse",
    )  # fmt: skip
    events = [event for frame in _documents(output) for event in frame["events"]]
    assert "welcome" in events[0]
    assert [
        (event["command_result"]["command_id"], event["command_result"]["accepted"]["seq"])
        for event in events
        if "command_result" in event
    ] == [("2", "1"), ("3", "2")]
    page = await call(
        endpoint, "HistoryService/ListMessages", {"channel_id": channel_id}, bob["tokens"]["access_token"]
    )
    assert [message["text"] for message in page["messages"]] == ["message 1", "message 2"]


def _documents(output: str) -> list[dict[str, Any]]:
    decoder, found, at = json.JSONDecoder(), [], 0
    output = output.strip()
    while at < len(output):
        document, at = decoder.raw_decode(output, at)
        found.append(document)
        at += len(output[at:]) - len(output[at:].lstrip())
    return found
