// Rob writes to Ken: go install tool && go generate && go run . HOST:PORT
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example/tidings/v1"
)

//go:generate sh -c "protoc -I../../../protos --go_out=. --go-grpc_out=. ../../../protos/tidings/v1/*.proto"

func main() {
	api := dial(os.Args[1])
	rob, ken := signUp(api, "rob"), signUp(api, "ken")
	withKen := &pb.OpenDirectChannelRequest{UserId: ken.User.UserId}
	channel := must(pb.NewChannelServiceClient(api).OpenDirectChannel(as(rob), withKen)).Channel

	// The cursor is the position up to which this device has everything.
	hello := &pb.Command{Body: &pb.Command_Hello{Hello: &pb.Hello{Cursor: 0}}}
	// After an answer that was lost, the same client_message_id again does not make a second message.
	message := &pb.SendMessage{ClientMessageId: "1", ChannelId: channel.ChannelId, Text: "Hello, Ken!"}
	converse(rob, hello, &pb.Command{CommandId: 1, Body: &pb.Command_SendMessage{SendMessage: message}})
	converse(ken, hello)
}

// converse holds a stream with the best chat server. An app keeps it open; this one closes it when it has what it came
// for, and the server ends it when it has answered everything.
func converse(who *pb.SignUpResponse, commands ...*pb.Command) {
	stream := must(pb.NewChatServiceClient(dial(who.Servers[0].Endpoint)).Converse(as(who)))
	stream.Send(&pb.ConverseRequest{Commands: commands})
	for response, err := stream.Recv(); err != io.EOF; response, err = stream.Recv() {
		for _, event := range must(response, err).Events {
			switch body := event.Body.(type) {
			case *pb.Event_CommandResult:
				result := body.CommandResult
				accepted := must(result.GetAccepted(), status.ErrorProto(result.GetError()))
				fmt.Println(who.User.Username, "sent message", accepted.Seq)
			case *pb.Event_Message:
				fmt.Println(who.User.Username, "received:", body.Message.Text)
				arrived := &pb.Command_Acknowledge{Acknowledge: &pb.Acknowledge{Position: event.Position}}
				stream.Send(&pb.ConverseRequest{Commands: []*pb.Command{{Body: arrived}}})
			default:
				continue
			}
			stream.CloseSend()
		}
	}
}

// signUp takes a name that is free; a person who comes back calls LogIn.
func signUp(api *grpc.ClientConn, name string) *pb.SignUpResponse {
	request := &pb.SignUpRequest{Username: name, Password: "correct horse"}
	return must(pb.NewAccountServiceClient(api).SignUp(context.Background(), request))
}

// as adds the access token, which every call needs but those that sign in.
func as(who *pb.SignUpResponse) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+who.Tokens.AccessToken)
}

func dial(address string) *grpc.ClientConn {
	return must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
