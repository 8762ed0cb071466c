package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "tidings/loadgen/gen/tidings/v1"
)

const (
	// As the SDK does it: soon after something arrived, and no more often than every so long.
	acknowledgeSoon  = 20 * time.Millisecond
	acknowledgeEvery = 100 * time.Millisecond
	// More commands than this may not be in flight: the server would stop reading.
	mostInFlight = 256
)

var connectDesc = grpc.StreamDesc{StreamName: "Converse", ServerStreams: true, ClientStreams: true}

var epoch = time.Now()

// clock is the time since this process began: what latencies are measured with.
func clock() time.Duration { return time.Since(epoch) }

// phase is where a run stands; shared by its sessions.
type phase struct {
	measuring atomic.Bool
	stopping  atomic.Bool
}

// tally is what one session has seen. It is written by the session's reader and read when that has ended.
type tally struct {
	accepted, delivered                 uint64 // While measuring.
	allAccepted, allDelivered           uint64
	frames, receipts, missing, repeated uint64
	acceptLatency, deliverLatency       latencies
}

// session is one device's stream, on an HTTP/2 connection of its own, and at most one channel that it talks in.
type session struct {
	device    device
	channelID string
	text      string
	batch     bool // All commands that are due go in one frame, instead of one in each.
	refills   bool // A message is sent for each that is accepted.
	phase     *phase

	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
	synced chan struct{}
	ended  chan struct{}
	err    error // Why the stream ended; to be read when it has.

	// Highest seq seen, and position; others look at them while the reader goes on.
	seq      atomic.Uint64
	position atomic.Uint64
	inFlight atomic.Int64

	mutex         sync.Mutex // Held to write.
	commandID     uint64
	sentAt        [2 * mostInFlight]atomic.Int64
	acknowledged  uint64
	acknowledgeAt time.Duration
	dueAt         time.Duration

	inWindow atomic.Uint64 // Messages sent while measuring.
	sentAll  atomic.Uint64
	tally    *tally
	free     int // Results in the frame that is being read.
}

func newSession(owner device, channelID string, chosen options, phase *phase) *session {
	return &session{
		device: owner, channelID: channelID, text: strings.Repeat("x", chosen.text), batch: chosen.batch,
		phase: phase, tally: &tally{},
		synced: make(chan struct{}), ended: make(chan struct{}),
		// Devices do not acknowledge in step.
		acknowledgeAt: clock() - time.Duration(rand.Int64N(int64(acknowledgeEvery))),
	}
}

// open dials, says Hello and waits until the replay is over.
func (s *session) open(ctx context.Context, cursor uint64) error {
	conn, err := dial(s.device.server)
	if err != nil {
		return err
	}
	s.conn = conn
	ctx, s.cancel = context.WithCancel(ctx)
	s.stream, err = conn.NewStream(
		s.device.signedIn(ctx), &connectDesc, pb.ChatService_Converse_FullMethodName, grpc.ForceCodecV2(frameCodec{}),
	)
	if err == nil {
		err = s.write(&pb.Command{Body: &pb.Command_Hello{Hello: &pb.Hello{Cursor: cursor}}})
	}
	if err != nil {
		s.cancel()
		s.cancel = nil
		return errors.Join(fmt.Errorf("connecting: %w", err), conn.Close())
	}
	go s.read()
	select {
	case <-s.synced:
		return nil
	case <-s.ended:
		return fmt.Errorf("connecting: %w", s.err)
	}
}

// close ends the stream, if it was opened; nothing is read any more when it returns.
func (s *session) close() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	<-s.ended
	return s.conn.Close()
}

func (s *session) read() {
	defer close(s.ended)
	var received frame
	var each event
	for s.err == nil {
		if s.err = s.stream.RecvMsg(&received); s.err == nil {
			s.err = s.take(received.buffer.ReadOnlyData(), &each)
			received.free()
		} else if errors.Is(s.err, io.EOF) {
			s.err = errors.New("the server ended the stream as if all were well")
		}
	}
}

// take looks at each event of a frame, and sends as many messages as were accepted in it.
func (s *session) take(encoded []byte, each *event) error {
	now := clock()
	s.free = 0
	s.tally.frames++
	events := scanner{rest: encoded}
	for events.next() {
		if events.number != frameEvents {
			continue
		}
		if err := each.parse(events.bytes); err != nil {
			return err
		}
		if err := s.happened(each, now); err != nil {
			return err
		}
	}
	if events.err != nil {
		return events.err
	}
	if s.free > 0 && s.refills && !s.phase.stopping.Load() {
		if err := s.send(s.free); err != nil {
			return err
		}
	}
	// After the next ones have been counted, so that nobody takes the moment in between for the end.
	s.inFlight.Add(-int64(s.free))
	return nil
}

func (s *session) happened(each *event, now time.Duration) error {
	if each.position > s.position.Load() {
		s.position.Store(each.position)
	}
	switch each.kind {
	case eventMessage:
		s.tally.allDelivered++
		if s.phase.measuring.Load() {
			s.tally.delivered++
			s.tally.deliverLatency.add(now - sentTime(each.clientMessageID))
		}
		return s.entered(each)
	case eventResult:
		if each.refusal != nil {
			return refused(each.refusal)
		}
		s.free++
		s.tally.allAccepted++
		if s.phase.measuring.Load() {
			s.tally.accepted++
			s.tally.acceptLatency.add(now - time.Duration(s.sentAt[each.commandID%uint64(len(s.sentAt))].Load()))
		}
		return s.entered(each)
	case eventEdited, eventDeleted, eventMembership, eventUpdated:
		return s.entered(each)
	case eventReceipt:
		s.tally.receipts++
	case eventSyncComplete:
		close(s.synced)
	case eventSyncReset:
		return errors.New("the server reset the replay")
	}
	return nil
}

// entered checks that the channel's log comes without a gap.
func (s *session) entered(each *event) error {
	if string(each.channelID) != s.channelID {
		return fmt.Errorf("an event of channel %q came, which this session is not in", each.channelID)
	}
	last := s.seq.Load()
	if each.seq <= last {
		s.tally.repeated++
		return nil
	}
	s.tally.missing += each.seq - last - 1
	s.seq.Store(each.seq)
	return nil
}

// send writes messages; the time of sending is in their names.
func (s *session) send(count int) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	commands := make([]*pb.Command, 0, count+1)
	now := clock()
	for range count {
		s.commandID++
		s.sentAt[s.commandID%uint64(len(s.sentAt))].Store(int64(now))
		id := strconv.AppendUint(make([]byte, 0, 32), s.commandID, 36)
		id = strconv.AppendInt(append(id, '-'), int64(now), 36)
		commands = append(commands, &pb.Command{CommandId: s.commandID, Body: &pb.Command_SendMessage{
			SendMessage: &pb.SendMessage{ClientMessageId: string(id), ChannelId: s.channelID, Text: s.text},
		}})
	}
	s.inFlight.Add(int64(count))
	s.sentAll.Add(uint64(count))
	if s.phase.measuring.Load() {
		s.inWindow.Add(uint64(count))
	}
	if s.batch {
		return s.write(commands...)
	}
	for _, command := range commands {
		if err := s.write(command); err != nil {
			return err
		}
	}
	return nil
}

func sentTime(clientMessageID []byte) time.Duration {
	nanoseconds := int64(0)
	for i := len(clientMessageID) - 1; i >= 0; i-- {
		if clientMessageID[i] == '-' {
			nanoseconds, _ = strconv.ParseInt(string(clientMessageID[i+1:]), 36, 64)
			break
		}
	}
	return time.Duration(nanoseconds)
}

// acknowledge confirms what has arrived, when that is due.
func (s *session) acknowledge(now time.Duration) error {
	position := s.position.Load()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if position <= s.acknowledged {
		return nil
	}
	if s.dueAt == 0 {
		s.dueAt = max(now+acknowledgeSoon, s.acknowledgeAt+acknowledgeEvery)
	}
	if now < s.dueAt {
		return nil
	}
	s.acknowledged, s.acknowledgeAt, s.dueAt = position, now, 0
	return s.write(&pb.Command{Body: &pb.Command_Acknowledge{Acknowledge: &pb.Acknowledge{Position: position}}})
}

// write sends a frame. Why a stream cannot be written to any more is the reader's to find out.
func (s *session) write(commands ...*pb.Command) error {
	err := s.stream.SendMsg(&pb.ConverseRequest{Commands: commands})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func refused(encoded []byte) error {
	var reason spb.Status
	if err := proto.Unmarshal(encoded, &reason); err != nil {
		return err
	}
	return fmt.Errorf("a command was refused: %s", reason.GetMessage())
}
