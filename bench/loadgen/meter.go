package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Linux counts CPU time for programs in hundredths of a second, whatever the kernel does inside.
const ticksPerSecond = 100

// reading is what the processes have used up to one moment.
type reading struct {
	at      time.Time
	server  float64
	parts   map[string]float64
	client  float64
	machine float64
	rssKiB  int64
}

// meter reads the CPU time and memory of the server, with the processes that it has started, and of this process.
type meter struct {
	pid int
	// By name: the processes that the server consists of, when it is more than one.
	parts map[string]int
}

func (m meter) read() (reading, error) {
	now := reading{at: time.Now()}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return now, err
	}
	now.client = seconds(usage.Utime) + seconds(usage.Stime)
	machine, err := machineSeconds()
	if err != nil {
		return now, err
	}
	now.machine = machine
	if m.pid != 0 {
		now.server, now.rssKiB, err = processTree(m.pid)
	}
	now.parts = map[string]float64{}
	for name, pid := range m.parts {
		cpu, rssKiB, err := processTree(pid)
		if err != nil {
			return now, err
		}
		now.parts[name] = cpu
		now.server += cpu
		now.rssKiB += rssKiB
	}
	return now, err
}

func seconds(value syscall.Timeval) float64 {
	return float64(value.Sec) + float64(value.Usec)/1e6
}

// machineSeconds is the time that all processors together were busy.
func machineSeconds() (float64, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	busy := 0.0
	for i, field := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; guests are in user already.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, err
		}
		busy += ticks
	}
	return busy / ticksPerSecond, nil
}

// processTree sums CPU seconds, user and system, and resident KiB over a process and its descendants.
func processTree(pid int) (cpu float64, rssKiB int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("the server is gone: %w", err)
	}
	// The name in brackets may hold anything; what follows it begins with field 3.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	for _, at := range []int{14, 15} {
		ticks, err := strconv.ParseFloat(fields[at-3], 64)
		if err != nil {
			return 0, 0, err
		}
		cpu += ticks / ticksPerSecond
	}
	pages, err := strconv.ParseInt(fields[24-3], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	rssKiB = pages * int64(os.Getpagesize()) / 1024
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, 0, err
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue // The thread has ended meanwhile.
		}
		for _, child := range strings.Fields(string(content)) {
			number, err := strconv.Atoi(child)
			if err != nil {
				return 0, 0, err
			}
			if childCPU, childRSS, err := processTree(number); err == nil {
				cpu += childCPU
				rssKiB += childRSS
			}
		}
	}
	return cpu, rssKiB, nil
}

// parts is a flag: NAME=PID, by commas.
type parts map[string]int

func (p parts) String() string { return "" }

func (p parts) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		name, pid, found := strings.Cut(part, "=")
		number, err := strconv.Atoi(pid)
		if !found || err != nil {
			return fmt.Errorf("%q is not NAME=PID", part)
		}
		p[name] = number
	}
	return nil
}
