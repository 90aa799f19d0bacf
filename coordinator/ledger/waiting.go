package ledger

import (
	"fmt"
	"strings"
	"time"

	"banyan/internal/quantity"
)

// WaitingError means that the ledger does not write yet: the leader has just started, and has not
// heard whether its hosts have a newer history than its store.
type WaitingError struct {
	// Hosts is the number of hosts in Regions.
	Hosts int
	// Regions are the regions that have hosts, and that the leader has heard of no host of.
	Regions []string
	// Until is the time at which the ledger writes although no host was heard of.
	Until time.Time
}

func (e *WaitingError) Error() string {
	return fmt.Sprintf("this leader has heard of none of its %s in %s since it started, so its store may be an old copy: "+
		"it writes when one of them is connected, or in %s", quantity.Of(e.Hosts, "host"), strings.Join(e.Regions, ", "), e.Left())
}

// Left returns the time that is left of the wait, in whole seconds.
func (e *WaitingError) Left() time.Duration {
	return max(time.Until(e.Until).Round(time.Second), time.Second)
}

// Wait makes every Update fail with e, until Proceed is called or the next term begins.
func (l *Ledger) Wait(e *WaitingError) { l.waiting.Store(e) }

// Proceed ends the wait.
func (l *Ledger) Proceed() { l.waiting.Store(nil) }

// Waiting returns why the ledger does not write yet; nil if it does not wait.
func (l *Ledger) Waiting() *WaitingError { return l.waiting.Load() }

// Refusal returns the error with which Update refuses to write: a *StoppedError or a
// *WaitingError. It returns nil if the ledger writes.
func (l *Ledger) Refusal() error {
	if stopped := l.Stopped(); stopped != nil {
		return stopped
	}
	if waiting := l.Waiting(); waiting != nil {
		return waiting
	}
	return nil
}
