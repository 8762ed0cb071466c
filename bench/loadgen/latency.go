package main

import (
	"math/bits"
	"time"
)

// Latencies are kept in buckets whose width is at most 1/64 of their value: exact enough, and nothing to allocate.
const (
	unit       = time.Microsecond
	bucketBits = 7
	halfBucket = 1 << (bucketBits - 1)
	bucketsAll = (40-bucketBits)*halfBucket + 1<<bucketBits
)

type latencies struct {
	counts [bucketsAll]uint32
	total  uint64
	max    time.Duration
}

func (l *latencies) add(latency time.Duration) {
	l.counts[bucketOf(latency)]++
	l.total++
	l.max = max(l.max, latency)
}

func (l *latencies) merge(other *latencies) {
	for i, count := range other.counts {
		l.counts[i] += count
	}
	l.total += other.total
	l.max = max(l.max, other.max)
}

// quantile gives the middle of the bucket that holds the q-th share of all.
func (l *latencies) quantile(q float64) time.Duration {
	rank := uint64(q * float64(l.total))
	var seen uint64
	for i, count := range l.counts {
		seen += uint64(count)
		if seen > rank {
			return min(middleOf(i), l.max)
		}
	}
	return l.max
}

func bucketOf(latency time.Duration) int {
	value := uint64(max(latency, 0) / unit)
	shift := max(bits.Len64(value)-bucketBits, 0)
	return min(shift*halfBucket+int(value>>shift), bucketsAll-1)
}

func middleOf(bucket int) time.Duration {
	shift := max(bucket/halfBucket-1, 0)
	low := uint64(bucket-shift*halfBucket) << shift
	return time.Duration(low)*unit + time.Duration(uint64(1)<<shift)*unit/2
}

// percentiles is a distribution in milliseconds.
type percentiles struct {
	Samples uint64  `json:"samples"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

func (l *latencies) percentiles() *percentiles {
	if l.total == 0 {
		return nil
	}
	return &percentiles{
		l.total, milliseconds(l.quantile(0.5)), milliseconds(l.quantile(0.9)), milliseconds(l.quantile(0.99)),
		milliseconds(l.max),
	}
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration.Microseconds()) / 1000
}
