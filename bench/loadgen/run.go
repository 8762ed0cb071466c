package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "tidings/loadgen/gen/tidings/v1"
)

const (
	// Connects under way at a time.
	connectsAtOnce = 32
	tick           = 10 * time.Millisecond
)

// options is what to do to which server.
type options struct {
	target      string
	load        string
	pairs       int
	members     int
	inFlight    int
	rate        float64
	connections int
	beside      int
	missed      int
	text        int
	batch       bool
	warmUp      time.Duration
	measured    time.Duration
	drainWithin time.Duration
	pid         int
	parts       parts
}

// run is one load under way.
type run struct {
	options
	meter    meter
	phase    *phase
	api      *grpc.ClientConn
	sessions []*session
	senders  []*session
	ctx      context.Context
	fail     context.CancelCauseFunc
	// Who sends on their own, and who else is at work.
	sending sync.WaitGroup
	tending sync.WaitGroup
	report  report
}

// report is what is written to standard output.
type report struct {
	Load        string `json:"load"`
	Connections int    `json:"connections"`
	InFlight    int    `json:"in_flight,omitempty"`
	// Seconds measured, and what happened in them.
	Seconds   float64 `json:"seconds"`
	Sent      uint64  `json:"sent"`
	Accepted  uint64  `json:"accepted"`
	Delivered uint64  `json:"delivered"`
	Connects  uint64  `json:"connects"`
	Frames    uint64  `json:"frames"`
	Receipts  uint64  `json:"receipts"`
	// Warm-up and drain included: what must have arrived, and what did.
	AllAccepted uint64 `json:"all_accepted"`
	AllExpected uint64 `json:"all_expected"`
	AllArrived  uint64 `json:"all_arrived"`
	Lost        uint64 `json:"lost"`
	Missing     uint64 `json:"missing_seqs"`
	Repeated    uint64 `json:"repeated"`
	// Milliseconds.
	Accept  *percentiles `json:"accept_ms"`
	Deliver *percentiles `json:"deliver_ms"`
	Connect *percentiles `json:"connect_ms"`
	CatchUp float64      `json:"catch_up_ms,omitempty"`
	// CPU seconds, user and system, within the seconds measured.
	ServerCPU float64 `json:"server_cpu_s"`
	ClientCPU float64 `json:"client_cpu_s"`
	OthersCPU float64 `json:"others_cpu_s"`
	// The server's, by the processes that it consists of.
	PartsCPU map[string]float64 `json:"parts_cpu_s,omitempty"`
	// Resident memory of the server: when everyone had signed in, and at the end of the seconds measured.
	RSSBefore int64 `json:"rss_before_kib"`
	RSSAfter  int64 `json:"rss_after_kib"`
	RSSStart  int64 `json:"rss_start_kib"`
}

func newRun(ctx context.Context, chosen options) (*run, error) {
	api, err := dial(chosen.target)
	if err != nil {
		return nil, err
	}
	r := &run{options: chosen, meter: meter{chosen.pid, chosen.parts}, phase: &phase{}, api: api}
	r.ctx, r.fail = context.WithCancelCause(ctx)
	r.report.Load = chosen.load
	start, err := r.meter.read()
	r.report.RSSStart = start.rssKiB
	return r, err
}

// add makes a session of a channel, not open yet.
func (r *run) add(owner device, channelID string) *session {
	each := newSession(owner, channelID, r.options, r.phase)
	r.sessions = append(r.sessions, each)
	return each
}

// open connects all sessions and keeps watch over them.
func (r *run) open() error {
	before, err := r.meter.read()
	if err != nil {
		return err
	}
	r.report.RSSBefore = before.rssKiB
	r.report.Connections = len(r.sessions)
	err = forEach(len(r.sessions), connectsAtOnce, func(i int) error {
		return r.sessions[i].open(r.ctx, 0)
	})
	if err != nil {
		return err
	}
	for _, each := range r.sessions {
		r.watch(each)
	}
	r.tending.Go(r.acknowledge)
	return nil
}

// watch makes the end of a session the end of the run.
func (r *run) watch(each *session) {
	r.tending.Go(func() {
		<-each.ended
		r.fail(each.err)
	})
}

func (r *run) acknowledge() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		now := clock()
		for _, each := range r.sessions {
			if err := each.acknowledge(now); err != nil {
				return // The session's reader knows why, and says it.
			}
		}
	}
}

// sleep waits, unless something fails meanwhile.
func (r *run) sleep(duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// measure warms up, then measures.
func (r *run) measure() error {
	if err := r.sleep(r.warmUp); err != nil {
		return err
	}
	before, err := r.meter.read()
	if err != nil {
		return err
	}
	r.phase.measuring.Store(true)
	if err := r.sleep(r.measured); err != nil {
		return err
	}
	r.phase.measuring.Store(false)
	return r.used(before)
}

// used notes what the seconds since a reading have cost.
func (r *run) used(before reading) error {
	after, err := r.meter.read()
	if err != nil {
		return err
	}
	r.report.Seconds = after.at.Sub(before.at).Seconds()
	r.report.ServerCPU = after.server - before.server
	r.report.ClientCPU = after.client - before.client
	r.report.OthersCPU = max(after.machine-before.machine-r.report.ServerCPU-r.report.ClientCPU, 0)
	r.report.RSSAfter = after.rssKiB
	r.report.PartsCPU = map[string]float64{}
	for name, cpu := range after.parts {
		r.report.PartsCPU[name] = cpu - before.parts[name]
	}
	return nil
}

// drain stops sending and waits until everyone has everything.
func (r *run) drain() error {
	r.phase.stopping.Store(true)
	r.sending.Wait()
	heads := map[string]uint64{}
	for deadline := time.Now().Add(r.drainWithin); time.Now().Before(deadline); {
		idle := true
		for _, each := range r.senders {
			idle = idle && each.inFlight.Load() == 0
		}
		for _, each := range r.sessions {
			heads[each.channelID] = max(heads[each.channelID], each.seq.Load())
		}
		for _, each := range r.sessions {
			idle = idle && each.seq.Load() == heads[each.channelID]
		}
		if idle {
			return nil
		}
		if err := r.sleep(tick); err != nil {
			return err
		}
	}
	return nil // What is not there yet is lost; finish counts it.
}

// finish closes all sessions and adds up what they saw.
func (r *run) finish() error {
	var failure error
	if r.ctx.Err() != nil {
		failure = context.Cause(r.ctx)
	}
	r.fail(nil)
	r.sending.Wait()
	for _, each := range r.sessions {
		failure = errors.Join(failure, each.close())
	}
	r.tending.Wait()
	failure = errors.Join(failure, r.api.Close())
	if failure != nil {
		return failure
	}
	r.sum()
	if r.report.Lost > 0 || r.report.Missing > 0 {
		return fmt.Errorf(
			"%d deliveries were lost, %d seqs were missing on arrival", r.report.Lost, r.report.Missing,
		)
	}
	return nil
}

func (r *run) sum() {
	var accept, deliver latencies
	accepted, members := map[string]uint64{}, map[string]uint64{}
	total := &r.report
	for _, each := range r.sessions {
		seen := each.tally
		total.Sent += each.inWindow.Load()
		total.Accepted += seen.accepted
		total.Delivered += seen.delivered
		total.Frames += seen.frames
		total.Receipts += seen.receipts
		total.AllAccepted += seen.allAccepted
		total.AllArrived += seen.allDelivered
		total.Missing += seen.missing
		total.Repeated += seen.repeated
		accept.merge(&seen.acceptLatency)
		deliver.merge(&seen.deliverLatency)
		accepted[each.channelID] += seen.allAccepted
		members[each.channelID]++
		// What was sent and got no result is lost as well, whatever became of it.
		total.Lost += each.sentAll.Load() - seen.allAccepted
	}
	for channelID, count := range accepted {
		total.AllExpected += count * (members[channelID] - 1)
	}
	if arrived := total.AllArrived - min(total.AllArrived, total.Repeated); arrived < total.AllExpected {
		total.Lost += total.AllExpected - arrived
	}
	if p := accept.percentiles(); p != nil {
		total.Accept = p
	}
	if p := deliver.percentiles(); p != nil {
		total.Deliver = p
	}
}

// pair makes a direct channel.
func (r *run) pair(first, second device) (string, error) {
	response, err := pb.NewChannelServiceClient(r.api).OpenDirectChannel(
		first.signedIn(r.ctx), &pb.OpenDirectChannelRequest{UserId: second.userID},
	)
	if err != nil {
		return "", fmt.Errorf("opening a direct channel: %w", err)
	}
	return response.GetChannel().GetChannelId(), nil
}

// group makes a group of all of these people; the first owns it.
func (r *run) group(people [][]device) (string, error) {
	ids := make([]string, 0, len(people)-1)
	for _, person := range people[1:] {
		ids = append(ids, person[0].userID)
	}
	response, err := pb.NewChannelServiceClient(r.api).CreateGroup(
		people[0][0].signedIn(r.ctx), &pb.CreateGroupRequest{Title: "bench", MemberIds: ids},
	)
	if err != nil {
		return "", fmt.Errorf("making a group: %w", err)
	}
	return response.GetChannel().GetChannelId(), nil
}
