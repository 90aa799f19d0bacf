package world

import (
	"cmp"
	"math/rand/v2"
	"time"

	"banyan/mesh/wire"
)

// This file has hosts that never rest: relays that chatter, and hosts that restart all the time.

// chatterPeriod is the time between two messages of a chattering relay.
const chatterPeriod = time.Second

// chatter makes hosts withhold every announcement and every new head, and send old ones to their
// children all the time. It returns a function that ends the fault.
func (w *World) chatter(hosts []int32) (undo func()) {
	ended := false
	var speak func()
	speak = func() {
		if ended {
			return
		}
		for _, i := range hosts {
			w.repeatOldNews(i)
		}
		w.At(w.now.Add(chatterPeriod), speak)
	}
	for _, i := range hosts {
		w.hosts[i].lie = FaultChatter
	}
	speak()
	return func() {
		ended = true
		for _, i := range hosts {
			w.hosts[i].lie = ""
		}
	}
}

// repeatOldNews sends the oldest head and the oldest pointer of its region to the children of host i.
func (w *World) repeatOldNews(i int32) {
	h := &w.hosts[i]
	if h.down {
		return
	}
	var news []wire.Message
	if raw := w.signer.firstHead(h.ident.Region); raw != nil {
		news = append(news, &wire.SignedHead{Raw: raw})
	}
	if raw := w.signer.first("", h.ident.Region); raw != nil {
		news = append(news, &wire.Announcement{Revision: 1, Raw: raw})
	}
	for _, peer := range h.node.ChildLinks() {
		for _, m := range news {
			w.transmit(peer, m, w.now)
		}
	}
}

const (
	defaultRestart = 60 // seconds
	restartTime    = 2 * time.Second
)

// restartAgain crashes each host once in a period, at a moment of its own, and starts it again. It
// returns a function that ends the fault.
func (w *World) restartAgain(hosts []int32, seconds float64, r *rand.Rand) (undo func()) {
	period := time.Duration(cmp.Or(seconds, defaultRestart) * float64(time.Second))
	ended := false
	for _, i := range hosts {
		var restart func()
		restart = func() {
			if ended {
				return
			}
			w.restart(i)
			w.At(w.now.Add(period), restart)
		}
		w.At(w.now.Add(time.Duration(r.Int64N(int64(period)))), restart)
	}
	return func() { ended = true }
}

// restart crashes host i and starts it after restartTime. A host that is down stays as it is.
func (w *World) restart(i int32) {
	if w.hosts[i].down {
		return
	}
	w.Crash(i)
	boots := w.hosts[i].boots
	w.At(w.now.Add(restartTime), func() {
		if w.hosts[i].boots == boots {
			w.Start(i)
		}
	})
}

// clock returns the time by the clock of host i, in microseconds.
func (w *World) clock(i int32) int64 { return int64(w.now.Add(w.hosts[i].skew)) / 1000 }
