package main

import "time"

// What can be done to a server, by name.
var loads = map[string]func(*run) error{
	"pairs":   (*run).runPairs,
	"group":   (*run).runGroup,
	"rate":    (*run).runRate,
	"idle":    (*run).runIdle,
	"connect": (*run).runConnect,
	"catchup": (*run).runCatchUp,
}

// runPairs: in each pair one person writes, with so many messages in flight.
func (r *run) runPairs() error {
	if err := r.openPairs(true); err != nil {
		return err
	}
	return r.keepInFlight()
}

// runGroup: one member writes, with so many messages in flight; all others read.
func (r *run) runGroup() error {
	people, err := signUp(r.ctx, r.api, r.members, 1)
	if err != nil {
		return err
	}
	channelID, err := r.group(people)
	if err != nil {
		return err
	}
	for _, person := range people {
		r.add(person[0], channelID)
	}
	r.senders = r.sessions[:1]
	r.senders[0].refills = true
	if err := r.open(); err != nil {
		return err
	}
	return r.keepInFlight()
}

// runRate: the pairs take turns, so many messages a second in all, evenly, however long answers take.
func (r *run) runRate() error {
	if err := r.openPairs(false); err != nil {
		return err
	}
	interval := time.Duration(float64(time.Second) / r.rate)
	r.sending.Go(func() {
		next := time.Now()
		for turn := 0; !r.phase.stopping.Load(); turn++ {
			if r.sleep(time.Until(next)) != nil {
				return
			}
			sender := r.senders[turn%len(r.senders)]
			if err := sender.send(1); err != nil {
				return // The session's reader knows why, and says it.
			}
			next = next.Add(interval)
		}
	})
	if err := r.measure(); err != nil {
		return err
	}
	return r.drain()
}

// runIdle: connections that do nothing; what they cost in memory.
func (r *run) runIdle() error {
	if err := r.addIdle(r.connections); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	return r.measure()
}

// runConnect: devices connect with a valid token, are told that there is nothing new, and leave, one after another.
func (r *run) runConnect() error {
	people, err := signUp(r.ctx, r.api, r.pairs, 1)
	if err != nil {
		return err
	}
	var took latencies
	turn := 0
	round := func(measured bool) error {
		begin := clock()
		each := newSession(people[turn%len(people)][0], "", r.options, r.phase)
		turn++
		if err := each.open(r.ctx, 0); err != nil {
			return err
		}
		if measured {
			took.add(clock() - begin)
			r.report.Connects++
		}
		return each.close()
	}
	for end := time.Now().Add(r.warmUp); time.Now().Before(end); {
		if err := round(false); err != nil {
			return err
		}
	}
	before, err := r.meter.read()
	if err != nil {
		return err
	}
	r.report.RSSBefore = before.rssKiB
	for end := time.Now().Add(r.measured); time.Now().Before(end); {
		if err := round(true); err != nil {
			return err
		}
	}
	r.report.Connect = took.percentiles()
	return r.used(before)
}

// runCatchUp: a device leaves, misses so many messages, and comes back.
func (r *run) runCatchUp() error {
	people, err := signUp(r.ctx, r.api, 2, 1)
	if err != nil {
		return err
	}
	channelID, err := r.pair(people[0][0], people[1][0])
	if err != nil {
		return err
	}
	away := r.add(people[1][0], channelID)
	r.senders = []*session{r.add(people[0][0], channelID)}
	// The device has been here once: what it missed lies behind a cursor.
	visit := newSession(away.device, channelID, r.options, r.phase)
	if err := visit.open(r.ctx, 0); err != nil {
		return err
	}
	cursor := visit.position.Load()
	if err := visit.close(); err != nil {
		return err
	}
	sender := r.senders[0]
	if err := sender.open(r.ctx, 0); err != nil {
		return err
	}
	r.watch(sender)
	r.tending.Go(r.acknowledge)
	for sender.sentAll.Load() < uint64(r.missed) {
		if sender.inFlight.Load() >= mostInFlight/2 {
			if err := r.sleep(time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if err := sender.send(1); err != nil {
			return err
		}
	}
	for sender.inFlight.Load() > 0 {
		if err := r.sleep(time.Millisecond); err != nil {
			return err
		}
	}
	before, err := r.meter.read()
	if err != nil {
		return err
	}
	r.report.RSSBefore = before.rssKiB
	r.report.Connections = 1
	// What is replayed was sent long ago: its way is not measured, only its end.
	if err := away.open(r.ctx, cursor); err != nil {
		return err
	}
	r.watch(away)
	if err := r.used(before); err != nil {
		return err
	}
	r.report.CatchUp = 1000 * r.report.Seconds
	r.report.Delivered = uint64(r.missed)
	return r.drain()
}

// addIdle makes sessions that do nothing, not open yet.
func (r *run) addIdle(count int) error {
	people, err := signUp(r.ctx, r.api, (count+devicesOfUser-1)/devicesOfUser, devicesOfUser)
	if err != nil {
		return err
	}
	for _, person := range people {
		for _, each := range person {
			if count > 0 {
				r.add(each, "")
				count--
			}
		}
	}
	return nil
}

// openPairs makes the pairs and connects everyone; the first of each pair is to write.
func (r *run) openPairs(refills bool) error {
	people, err := signUp(r.ctx, r.api, 2*r.pairs, 1)
	if err != nil {
		return err
	}
	channels := make([]string, r.pairs)
	err = forEach(r.pairs, connectsAtOnce, func(i int) error {
		var err error
		channels[i], err = r.pair(people[2*i][0], people[2*i+1][0])
		return err
	})
	if err != nil {
		return err
	}
	for i, channelID := range channels {
		sender := r.add(people[2*i][0], channelID)
		sender.refills = refills
		r.senders = append(r.senders, sender)
		r.add(people[2*i+1][0], channelID)
	}
	if err := r.addIdle(r.beside); err != nil {
		return err
	}
	return r.open()
}

// keepInFlight writes a message for each that is accepted, and measures.
func (r *run) keepInFlight() error {
	r.report.InFlight = r.inFlight
	for _, each := range r.senders {
		if err := each.send(r.inFlight); err != nil {
			return err
		}
	}
	if err := r.measure(); err != nil {
		return err
	}
	return r.drain()
}
