package rollout

import "time"

// Driver carries a rollout from step to step. A Driver keeps the rollout's stored state and
// its state in memory, measures the time between steps, and allows one transaction at a
// time. It does no I/O: the caller owns the clock, the store and the view of the fleet.
//
//	Step ──► transaction of the caller ──► Committed or Failed
//	another writer's transaction, a conflict ──► Load
//	the controller died and starts anew ──► Restart
//
// A time is a reading of the caller's monotonic clock, as the duration since an origin
// that the caller chooses and keeps.
type Driver struct {
	stored State
	memory State // stored, plus the time spent since the last transaction
	// next is the state of the transaction in flight; nil without a transaction.
	next    *State
	stepped time.Duration // time of the last step
}

// NewDriver returns a driver that goes on with a rollout from its stored state.
func NewDriver(stored State, now time.Duration) *Driver {
	return &Driver{stored: stored, memory: stored, stepped: now}
}

// State returns the newest state in memory. The caller must not modify its maps.
func (d *Driver) State() State { return d.memory }

// Stored returns the state as the store holds it. The caller must not modify its maps.
func (d *Driver) Stored() State { return d.stored }

// Over reports whether the stored rollout has ended.
func (d *Driver) Over() bool { return d.stored.Status.Over() }

// Writing reports whether a transaction is in flight.
func (d *Driver) Writing() bool { return d.next != nil }

// Step decides one step, as Decide does, with the time since the last step. If changed is
// true, the caller must write next and moves in one transaction and then call Committed
// or Failed. The caller must not call Step while a transaction is in flight.
func (d *Driver) Step(now time.Duration, v View) (next State, moves []Move, changed bool) {
	if d.Writing() {
		panic("rollout: a step of " + d.memory.Config + " while a transaction is in flight")
	}
	elapsed := now - d.stepped
	d.stepped = now
	next, moves, changed = Decide(d.memory, v, elapsed)
	if changed {
		d.next = &next
	} else {
		d.memory = next
	}
	return next, moves, changed
}

// Committed makes the state of the transaction in flight the stored state.
func (d *Driver) Committed() {
	d.stored = *d.next
	d.memory = d.stored
	d.next = nil
}

// Failed drops the transaction in flight: nothing of it was stored. The next step decides
// anew from the state in memory.
func (d *Driver) Failed() { d.next = nil }

// Load replaces the state by the state that the store holds now, after a transaction that
// Step did not decide: another writer's, or a person's request. The first step of another
// rollout counts the time from now.
func (d *Driver) Load(stored State, now time.Duration) {
	if stored.ID != d.memory.ID {
		d.stepped = now
	}
	d.stored = stored
	d.memory = stored
	d.next = nil
}

// Restart forgets all that was in memory only: the time spent since the last transaction
// and the transaction in flight, which died with its writer.
func (d *Driver) Restart(now time.Duration) {
	d.Load(d.stored, now)
	d.stepped = now
}
