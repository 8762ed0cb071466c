// Anders writes to Brendan: npm ci && npm run build && node build/main.js HOST:PORT
import { ChannelCredentials } from "@grpc/grpc-js";
import { GrpcTransport } from "@protobuf-ts/grpc-transport";
import { SignUpRequest, type SignUpResponse } from "./tidings/v1/account";
import { AccountServiceClient } from "./tidings/v1/account.client";
import { ChannelServiceClient } from "./tidings/v1/channel.client";
import { Command } from "./tidings/v1/chat";
import { ChatServiceClient } from "./tidings/v1/chat.client";

async function main(): Promise<void> {
  const api = dial(process.argv[2]);
  const [anders, brendan] = [await signUp(api, "anders"), await signUp(api, "brendan")];
  const withBrendan = { userId: brendan.user!.userId };
  const { channel } = await new ChannelServiceClient(api).openDirectChannel(withBrendan, as(anders)).response;

  // The cursor is the position up to which this device has everything.
  const hello = Command.create({ body: { oneofKind: "hello", hello: { cursor: 0n } } });
  // After an answer that was lost, the same clientMessageId again does not make a second message.
  const sendMessage = { clientMessageId: "1", channelId: channel!.channelId, text: "Hello, Brendan!", replyToSeq: 0n };
  await converse(anders, hello, { commandId: 1n, body: { oneofKind: "sendMessage", sendMessage } });
  await converse(brendan, hello);
}

// Holds a stream with the best chat server. An app keeps it open; this one closes it when it has what it came for, and
// the server ends it when it has answered everything.
async function converse(who: SignUpResponse, ...commands: Command[]): Promise<void> {
  const { requests, responses } = new ChatServiceClient(dial(who.servers[0].endpoint)).converse(as(who));
  await requests.send({ commands });
  for await (const { events } of responses) {
    for (const { position, body } of events) {
      if (body.oneofKind === "commandResult") {
        const { result } = body.commandResult;
        if (result.oneofKind !== "accepted") throw new Error(JSON.stringify(result));
        console.log(who.user!.username, "sent message", result.accepted.seq.toString());
      } else if (body.oneofKind === "message") {
        console.log(who.user!.username, "received:", body.message.text);
        const acknowledge = Command.create({ body: { oneofKind: "acknowledge", acknowledge: { position } } });
        await requests.send({ commands: [acknowledge] });
      } else continue;
      await requests.complete();
    }
  }
}

// Takes a name that is free; a person who comes back calls logIn.
async function signUp(api: GrpcTransport, username: string): Promise<SignUpResponse> {
  const request = SignUpRequest.create({ username, password: "correct horse" });
  return new AccountServiceClient(api).signUp(request).response;
}

// Adds the access token, which every call needs but those that sign in.
function as(who: SignUpResponse) {
  return { meta: { authorization: `Bearer ${who.tokens!.accessToken}` } };
}

function dial(host: string): GrpcTransport {
  return new GrpcTransport({ host, channelCredentials: ChannelCredentials.createInsecure() });
}

main();
