package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "tidings/loadgen/gen/tidings/v1"
)

var errMalformed = errors.New("the server sent a malformed frame")

// The numbers of the fields that are looked at, taken from the contract itself.
var (
	frameEvents = number(&pb.ConverseResponse{}, "events")

	eventPosition     = number(&pb.Event{}, "position")
	eventWelcome      = number(&pb.Event{}, "welcome")
	eventResult       = number(&pb.Event{}, "command_result")
	eventMessage      = number(&pb.Event{}, "message")
	eventEdited       = number(&pb.Event{}, "message_edited")
	eventDeleted      = number(&pb.Event{}, "message_deleted")
	eventMembership   = number(&pb.Event{}, "membership_changed")
	eventUpdated      = number(&pb.Event{}, "channel_updated")
	eventReceipt      = number(&pb.Event{}, "receipt")
	eventSyncComplete = number(&pb.Event{}, "sync_complete")
	eventSyncReset    = number(&pb.Event{}, "sync_reset")

	// All entries of a channel's log, and Accepted, number these two alike.
	entryChannel = number(&pb.Message{}, "channel_id")
	entrySeq     = number(&pb.Message{}, "seq")

	messageClientID = number(&pb.Message{}, "client_message_id")

	resultCommand  = number(&pb.CommandResult{}, "command_id")
	resultAccepted = number(&pb.CommandResult{}, "accepted")
	resultError    = number(&pb.CommandResult{}, "error")

	syncPosition = number(&pb.SyncComplete{}, "position")
)

func number(message proto.Message, field protoreflect.Name) protowire.Number {
	return message.ProtoReflect().Descriptor().Fields().ByName(field).Number()
}

// event is what the load generator wants to know of an Event. Its slices point into the frame.
type event struct {
	position        uint64
	kind            protowire.Number
	channelID       []byte
	seq             uint64
	clientMessageID []byte
	commandID       uint64
	refusal         []byte
}

// scanner walks over the fields of an encoded message without making anything.
type scanner struct {
	rest   []byte
	number protowire.Number
	varint uint64
	bytes  []byte
	err    error
}

func (s *scanner) next() bool {
	if len(s.rest) == 0 {
		return false
	}
	number, kind, tag := protowire.ConsumeTag(s.rest)
	if tag < 0 {
		s.err = errMalformed
		return false
	}
	size := 0
	switch kind {
	case protowire.VarintType:
		s.varint, size = protowire.ConsumeVarint(s.rest[tag:])
	case protowire.BytesType:
		s.bytes, size = protowire.ConsumeBytes(s.rest[tag:])
	default:
		size = protowire.ConsumeFieldValue(number, kind, s.rest[tag:])
	}
	if size < 0 {
		s.err = errMalformed
		return false
	}
	s.number = number
	s.rest = s.rest[tag+size:]
	return true
}

// parse reads one encoded Event, without the parts that nobody here looks at.
func (e *event) parse(encoded []byte) error {
	*e = event{}
	fields := scanner{rest: encoded}
	for fields.next() {
		if fields.number == eventPosition {
			e.position = fields.varint
			continue
		}
		e.kind = fields.number
		var err error
		switch fields.number {
		case eventMessage, eventEdited, eventDeleted, eventMembership, eventUpdated:
			err = e.parseEntry(fields.bytes)
		case eventResult:
			err = e.parseResult(fields.bytes)
		case eventSyncComplete:
			err = e.parseSync(fields.bytes)
		}
		if err != nil {
			return err
		}
	}
	return fields.err
}

func (e *event) parseEntry(encoded []byte) error {
	isMessage := e.kind == eventMessage
	fields := scanner{rest: encoded}
	for fields.next() {
		switch fields.number {
		case entryChannel:
			e.channelID = fields.bytes
		case entrySeq:
			e.seq = fields.varint
		case messageClientID:
			if isMessage {
				e.clientMessageID = fields.bytes
			}
		}
	}
	return fields.err
}

func (e *event) parseResult(encoded []byte) error {
	fields := scanner{rest: encoded}
	for fields.next() {
		switch fields.number {
		case resultCommand:
			e.commandID = fields.varint
		case resultAccepted:
			if err := e.parseEntry(fields.bytes); err != nil {
				return err
			}
		case resultError:
			e.refusal = fields.bytes
		}
	}
	return fields.err
}

// A replay's end is where the cursor is to stand, as if the event stood there itself.
func (e *event) parseSync(encoded []byte) error {
	fields := scanner{rest: encoded}
	for fields.next() {
		if fields.number == syncPosition {
			e.position = fields.varint
		}
	}
	return fields.err
}

// frame is a received ConverseResponse, still encoded.
type frame struct {
	buffer mem.Buffer
}

func (f *frame) free() {
	f.buffer.Free()
	f.buffer = nil
}

// frameCodec writes messages as usual and leaves what is received as it is.
type frameCodec struct{}

func (frameCodec) Name() string { return "proto" }

func (frameCodec) Marshal(value any) (mem.BufferSlice, error) {
	message, ok := value.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", value)
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(encoded)}, nil
}

func (frameCodec) Unmarshal(data mem.BufferSlice, value any) error {
	received, ok := value.(*frame)
	if !ok {
		return fmt.Errorf("%T is no frame", value)
	}
	received.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}
