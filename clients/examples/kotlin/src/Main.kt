// Svetlana writes to Andrey: mvn compile dependency:copy-dependencies
// and then java -cp 'target/classes:target/dependency/*' MainKt HOST:PORT
import io.grpc.ManagedChannel
import io.grpc.ManagedChannelBuilder
import io.grpc.Metadata
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.consumeAsFlow
import tidings.v1.AccountServiceGrpcKt.AccountServiceCoroutineStub
import tidings.v1.ChannelServiceGrpcKt.ChannelServiceCoroutineStub
import tidings.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import tidings.v1.*

suspend fun main(args: Array<String>) {
    val api = dial(args[0])
    val svetlana = signUp(api, "svetlana")
    val andrey = signUp(api, "andrey")
    val withAndrey = openDirectChannelRequest { userId = andrey.user.userId }
    val opened = ChannelServiceCoroutineStub(api).openDirectChannel(withAndrey, signedIn(svetlana))

    // The cursor is the position up to which this device has everything.
    val hello = command { hello = hello { cursor = 0 } }
    val message = command {
        commandId = 1
        sendMessage = sendMessage {
            // After an answer that was lost, the same one again does not make a second message.
            clientMessageId = "1"
            channelId = opened.channel.channelId
            text = "Hello, Andrey!"
        }
    }
    converse(svetlana, hello, message)
    converse(andrey, hello)
}

// Holds a stream with the best chat server. An app keeps it open; this one closes it when it has what it came for, and
// the server ends it when it has answered everything.
suspend fun converse(who: SignUpResponse, vararg first: Command) {
    val requests = Channel<ConverseRequest>(Channel.UNLIMITED)
    requests.send(converseRequest { commands += first.asList() })
    val chat = ChatServiceCoroutineStub(dial(who.getServers(0).endpoint))
    chat.converse(requests.consumeAsFlow(), signedIn(who)).collect { response ->
        for (event in response.eventsList) {
            if (event.hasCommandResult()) {
                check(event.commandResult.hasAccepted()) { event.commandResult.error.message }
                println("${who.user.username} sent message ${event.commandResult.accepted.seq}")
            } else if (event.hasMessage()) {
                println("${who.user.username} received: ${event.message.text}")
                val arrived = command { acknowledge = acknowledge { position = event.position } }
                requests.send(converseRequest { commands += arrived })
            } else continue
            requests.close()
        }
    }
}

// Takes a name that is free; a person who comes back calls logIn.
suspend fun signUp(api: ManagedChannel, name: String): SignUpResponse =
    AccountServiceCoroutineStub(api).signUp(signUpRequest { username = name; password = "correct horse" })

// The access token, which every call needs but those that sign in.
fun signedIn(who: SignUpResponse) = Metadata().apply {
    put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer ${who.tokens.accessToken}")
}

fun dial(address: String): ManagedChannel = ManagedChannelBuilder.forTarget(address).usePlaintext().build()
