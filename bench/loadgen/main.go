// Command loadgen puts a load on a tidings server and writes what it measured as one JSON object.
//
// It speaks the public contract and knows nothing of the server's inside. Every device has an HTTP/2 connection of its
// own, acknowledges what it receives as the SDK does, and checks that each channel's seq comes without a gap: when
// something is lost or refused, the exit code is 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

func main() {
	// Memory is plenty; the client's own CPU is what would spoil the measurement.
	debug.SetGCPercent(400)
	chosen, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := execute(ctx, chosen); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var chosen options
	flag.StringVar(&chosen.target, "target", "127.0.0.1:50051", "`HOST:PORT` of the server, without TLS")
	flag.StringVar(&chosen.load, "load", "pairs", "pairs, group, rate, idle, connect or catchup")
	flag.IntVar(&chosen.pairs, "pairs", 50, "pairs of people; in connect, devices")
	flag.IntVar(&chosen.members, "members", 100, "members of the group")
	flag.IntVar(&chosen.inFlight, "in-flight", 8, "messages in flight for each who writes")
	flag.Float64Var(&chosen.rate, "rate", 100, "messages a second in all")
	flag.IntVar(&chosen.connections, "connections", 2000, "idle connections")
	flag.IntVar(&chosen.beside, "beside", 0, "idle connections beside the pairs")
	flag.IntVar(&chosen.missed, "missed", 10000, "messages that a device misses while it is away")
	flag.IntVar(&chosen.text, "text", 200, "characters of a text")
	flag.BoolVar(&chosen.batch, "batch", false, "write commands that are due together in one frame, as the SDK does")
	flag.DurationVar(&chosen.warmUp, "warm-up", 2*time.Second, "load before it is measured")
	flag.DurationVar(&chosen.measured, "measured", 5*time.Second, "load that is measured")
	flag.DurationVar(&chosen.drainWithin, "drain", 30*time.Second, "after which what has not arrived is lost")
	flag.IntVar(&chosen.pid, "pid", 0, "the server's process, for its CPU time and memory")
	chosen.parts = parts{}
	flag.Var(chosen.parts, "parts", "`NAME=PID,...` of the processes that the server consists of, in place of -pid")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return chosen, fmt.Errorf("unexpected %q", flag.Arg(0))
	case loads[chosen.load] == nil:
		return chosen, fmt.Errorf("there is no load %q", chosen.load)
	case chosen.inFlight < 1 || chosen.inFlight > mostInFlight:
		return chosen, fmt.Errorf("-in-flight must be 1 to %d", mostInFlight)
	case chosen.pairs < 1 || chosen.members < 2 || chosen.connections < 1 || chosen.missed < 1 || chosen.text < 1 || chosen.beside < 0:
		return chosen, fmt.Errorf("sizes must be positive, and a group has two members or more")
	case chosen.rate <= 0:
		return chosen, fmt.Errorf("-rate must be positive")
	}
	return chosen, nil
}

func execute(ctx context.Context, chosen options) error {
	r, err := newRun(ctx, chosen)
	if err != nil {
		return err
	}
	failure := loads[chosen.load](r)
	if err := r.finish(); failure == nil {
		failure = err
	}
	if r.report.Seconds == 0 {
		return failure
	}
	// Also when something was lost: the counts say how much.
	if err := json.NewEncoder(os.Stdout).Encode(r.report); err != nil {
		return err
	}
	return failure
}
