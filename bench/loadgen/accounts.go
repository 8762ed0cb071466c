package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "tidings/loadgen/gen/tidings/v1"
)

const (
	// A user may have no more.
	devicesOfUser = 10
	// Sign-ins under way at a time: the server hashes a password for each.
	signInsAtOnce = 16
	// Addresses are dialled as they are.
	passthrough = "passthrough:///"
)

// device is one signed-in installation of a client.
type device struct {
	userID string
	token  string
	// HOST:PORT of the chat server that it was told to use.
	server string
}

func (d device) signedIn(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.token)
}

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(
		passthrough+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithSharedWriteBuffer(true),
	)
}

// signUp makes accounts and signs devices in: by user, then by device.
func signUp(ctx context.Context, conn *grpc.ClientConn, users, devices int) ([][]device, error) {
	accounts := pb.NewAccountServiceClient(conn)
	run, password := random(4), random(12)
	all := make([][]device, users)
	err := forEach(users, signInsAtOnce, func(i int) error {
		name := fmt.Sprintf("bench-%s-%d", run, i)
		response, err := accounts.SignUp(ctx, &pb.SignUpRequest{
			Username: name, Password: password, DeviceName: "first", Platform: pb.Platform_PLATFORM_BOT,
		})
		if err != nil {
			return fmt.Errorf("signing up: %w", err)
		}
		user := response.GetUser().GetUserId()
		all[i] = append(all[i], device{user, response.GetTokens().GetAccessToken(), best(response.GetServers(), conn)})
		for len(all[i]) < devices {
			response, err := accounts.LogIn(ctx, &pb.LogInRequest{
				Username: name, Password: password, DeviceName: "another", Platform: pb.Platform_PLATFORM_BOT,
			})
			if err != nil {
				return fmt.Errorf("logging in: %w", err)
			}
			all[i] = append(all[i], device{user, response.GetTokens().GetAccessToken(), best(response.GetServers(), conn)})
		}
		return nil
	})
	return all, err
}

// best is the server that comes first: discovery mixes equal ones, so that devices spread. Where none is named, it is
// the one that was asked.
func best(servers []*pb.Server, asked *grpc.ClientConn) string {
	if len(servers) == 0 {
		return strings.TrimPrefix(asked.Target(), passthrough)
	}
	return servers[0].GetEndpoint()
}

func random(size int) string {
	content := make([]byte, size)
	rand.Read(content) // Never fails.
	return hex.EncodeToString(content)
}

// forEach calls work with 0 to count-1, some at a time, and gives the first error.
func forEach(count, atOnce int, work func(int) error) error {
	var group sync.WaitGroup
	var once sync.Once
	var first error
	turns := make(chan int)
	failed := make(chan struct{})
	for range min(atOnce, count) {
		group.Go(func() {
			for i := range turns {
				if err := work(i); err != nil {
					once.Do(func() {
						first = err
						close(failed)
					})
					return
				}
			}
		})
	}
hand:
	for i := range count {
		select {
		case turns <- i:
		case <-failed:
			break hand
		}
	}
	close(turns)
	group.Wait()
	return first
}
