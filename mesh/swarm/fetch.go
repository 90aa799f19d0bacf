package swarm

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// OnRequest handles a peer's request for a body: it is served, or the body is fetched
// and the request waits.
func (s *Swarm) OnRequest(now step.Time, peer step.PeerID, b step.Body, out step.Outputs) step.Outputs {
	who, _ := s.overlay.Peer(peer)
	serve := step.Output{
		Op:   step.OpServe,
		Body: step.Body{Request: b.Request, Version: b.Version, Choice: b.Choice},
	}
	switch {
	case !s.overlay.IsBelow(peer) && !s.ExchangesWith(who):
		return append(out, step.Output{
			Op:     step.OpDeny,
			Body:   step.Body{Request: b.Request},
			Reason: "not a child of this node",
		})
	case s.cfg.HoldsAll || s.bodies.has(b.Version):
		return append(out, serve)
	case !s.subscribes(b.Version.Config):
		return s.requestCached(now, peer, b, out)
	case s.exchanging(b.Version):
		return append(out, serve)
	}
	out, ok := s.bodies.await(waiting{b.Request, peer, b.Version, b.Choice}, out)
	if !ok {
		return out
	}
	return s.Fetch(now, b.Version, out)
}

// Fetch asks the parent, or the backup, for a body, unless the fetch is under way.
// Without a parent, the fetch waits for Resume; without a slot, it waits for fetchNext.
func (s *Swarm) Fetch(now step.Time, v record.VersionKey, out step.Outputs) step.Outputs {
	f := s.bodies.fetches.begin(v, wire.AnyForm)
	if f.asked > 0 || s.exchanging(v) || !s.overlay.Attached() || !s.bodies.fetches.take(f) {
		return out
	}
	return s.ask(now, f, s.overlay.Source(), out)
}

// fetchNext asks for bodies that wait for a slot, as long as there are slots.
func (s *Swarm) fetchNext(now step.Time, out step.Outputs) step.Outputs {
	for s.overlay.Attached() {
		f := s.bodies.fetches.next()
		if f == nil {
			break
		}
		out = s.Fetch(now, f.version, out)
	}
	return out
}

// Resume asks a new parent for every body that is still wanted.
func (s *Swarm) Resume(now step.Time, out step.Outputs) step.Outputs {
	for _, f := range s.bodies.fetches.all() {
		switch {
		case f.asked > 0:
		case s.subscribes(f.version.Config):
			out = s.Fetch(now, f.version, out)
		default:
			out = s.fetchCached(now, f.version, f.choice, f.request, out)
		}
	}
	return s.fetchNext(now, out)
}

// exchanging reports whether the shards of a form of v are being exchanged.
func (s *Swarm) exchanging(v record.VersionKey) bool {
	for form := range uint8(record.MaxForms) {
		if s.exchanges[record.FormKey{VersionKey: v, Form: form}] != nil {
			return true
		}
	}
	return false
}

func (s *Swarm) ask(now step.Time, f *fetch, peer step.PeerID, out step.Outputs) step.Outputs {
	f.asked++
	s.bodies.fetches.wakeAt(f, now+fetchPatience+s.overlay.PathDelay())
	return append(out, step.Output{
		Op:   step.OpFetch,
		Peer: peer,
		Body: step.Body{
			Version:   f.version,
			Choice:    f.choice,
			Request:   f.request,
			ForOthers: !s.subscribes(f.version.Config),
		},
	})
}

// wakeFetches asks a further node for each body that no node has begun to send: first
// the backup, then members of the circle, one after another.
func (s *Swarm) wakeFetches(now step.Time, out step.Outputs) step.Outputs {
	for _, f := range s.bodies.fetches.due(now) {
		if now < f.askAt { // the fetch before has changed this one
			continue
		}
		s.bodies.fetches.wakeAt(f, now+fetchPatience)
		if s.exchanging(f.version) && f.choice == wire.AnyForm || f.asked >= maxAsked {
			s.bodies.fetches.wakeAt(f, step.Never)
			continue
		}
		if f.above || !s.subscribes(f.version.Config) {
			out = s.askFurther(now, f, out)
			continue
		}
		f.tries++
		if spare := s.spare(); f.tries == 1 && spare != 0 {
			out = s.ask(now, f, spare, out)
			continue
		}
		out = s.askCircle(now, f, out)
	}
	return out
}

// spare returns the backup, unless the backup is the source anyway; 0 for none.
func (s *Swarm) spare() step.PeerID {
	backup := s.overlay.Backup()
	if backup == s.overlay.Source() {
		return 0
	}
	return backup
}

// askAbove asks a further node for what the parent refuses, or is slow to send: the
// backup, then the coordinator, which has every form. It returns false if there is
// nobody left to ask.
func (s *Swarm) askAbove(now step.Time, f *fetch, out step.Outputs) (_ step.Outputs, ok bool) {
	source, _ := s.overlay.Peer(s.overlay.Source())
	spare := s.spare()
	f.above = true
	f.tries++
	switch {
	case f.tries == 1 && spare != 0:
		return s.ask(now, f, spare, out), true
	case f.last || f.tries > maxAsked || source.Role == wire.RoleCoordinator:
		return out, false
	case f.asked > 0 && !f.slow:
		f.slow = true
		s.bodies.fetches.wakeAt(f, now+fetchSlow)
		return out, true
	}
	coordinator := wire.Location{Addr: s.overlay.CoordinatorAddr()}
	if peer := s.partners.link(coordinator); peer != 0 {
		f.last = true
		return s.ask(now, f, peer, out), true
	}
	s.bodies.fetches.wakeAt(f, now+fetchPatience)
	return s.partners.dial(now, coordinator, false, out), true
}

// reasonNoForm is the reason why a fetch ends that no node could serve.
const reasonNoForm = "nobody above has a form of it that can be used"

// askFurther calls askAbove for a fetch that waits. If there is nobody left to ask, and
// no node may still answer, the fetch has failed.
func (s *Swarm) askFurther(now step.Time, f *fetch, out step.Outputs) step.Outputs {
	out, ok := s.askAbove(now, f, out)
	switch {
	case ok:
		return out
	case !s.subscribes(f.version.Config):
		return s.giveUp(f, reasonNoForm, out)
	case f.asked == 0:
		why := step.Failure{Reason: reasonNoForm, Fault: step.FaultPath}
		return s.fetchFailed(now, step.Body{Version: f.version}, why, out)
	}
	s.bodies.fetches.wakeAt(f, step.Never)
	return out
}

// askCircle asks the next member of the circle. A member without a link is dialed, and
// asked the next time.
func (s *Swarm) askCircle(now step.Time, f *fetch, out step.Outputs) step.Outputs {
	c := s.circle
	if c == nil || len(c.Members) < 2 {
		return out
	}
	next := (c.Position(s.cfg.Self.Name) + 1 + f.tries/2) % len(c.Members)
	member := c.Members[next]
	if member.Name == s.cfg.Self.Name {
		return out
	}
	if peer := s.partners.link(member); peer != 0 {
		return s.ask(now, f, peer, out)
	}
	s.bodies.fetches.wakeAt(f, now+dialWait)
	return s.partners.dial(now, member, member.Subscriptions.Include(f.version.Config), out)
}

// OnAnswered notes that a peer has begun to send a body. A further node is asked if the body takes
// long: it fits a piece of WholeLimit bytes, or is an index.
func (s *Swarm) OnAnswered(now step.Time, b step.Body) { s.setPatience(b, now+fetchSlow) }

// OnThrottled notes that the host itself delays a request: no further node is asked until the request
// is sent.
func (s *Swarm) OnThrottled(b step.Body) { s.setPatience(b, step.Never) }

// OnAsked notes that a request that was delayed is sent.
func (s *Swarm) OnAsked(now step.Time, b step.Body) {
	s.setPatience(b, now+fetchPatience+s.overlay.PathDelay())
}

// OnDelayed notes that the host itself delays a body. The peer has that much more time before a further
// node is asked.
func (s *Swarm) OnDelayed(b step.Body) {
	f := s.bodies.fetches.find(b.Version, b.Choice)
	if f != nil && f.askAt != step.Never {
		s.bodies.fetches.wakeAt(f, f.askAt+b.Delay)
	}
}

// setPatience sets the time at which a further node is asked for a body.
func (s *Swarm) setPatience(b step.Body, at step.Time) {
	if f := s.bodies.fetches.find(b.Version, b.Choice); f != nil {
		s.bodies.fetches.wakeAt(f, at)
	}
}

// OnFetched handles the end of a fetch.
func (s *Swarm) OnFetched(now step.Time, b step.Body, why step.Failure, out step.Outputs) step.Outputs {
	if !why.OK() {
		return s.fetchFailed(now, b, why, out)
	}
	return s.arrived(now, b, out)
}

// OnAssembled handles the end of the assembly of a form whose shards were exchanged.
func (s *Swarm) OnAssembled(now step.Time, b step.Body, why step.Failure, out step.Outputs) step.Outputs {
	if !why.OK() {
		return s.bodyFailed(now, b.Version, s.bodies.fetches.find(b.Version, b.Choice), why, out)
	}
	return s.arrived(now, b, out)
}

// arrived handles a body on disk, verified.
func (s *Swarm) arrived(now step.Time, b step.Body, out step.Outputs) step.Outputs {
	v := b.Version
	out = s.endExchanges(v, out)
	s.bodies.hold(v, b.Forms)
	s.uploads.recount(v)
	s.overlay.SourceWorks()
	out = s.bodies.serve(v, out)
	out = s.overlay.BodyReady(now, v, out)
	out = s.fetchNext(now, out)
	return s.uploads.pump(now, out)
}

// fetchFailed handles a fetch that ended without the body. A further node is asked if
// the asked node refused; else the failure is reported, unless another node may answer.
func (s *Swarm) fetchFailed(now step.Time, b step.Body, why step.Failure, out step.Outputs) step.Outputs {
	f := s.bodies.fetches.find(b.Version, b.Choice)
	switch {
	case f == nil:
		return out // another node has answered, or the body is not wanted any more
	case !s.subscribes(b.Version.Config):
		return s.cachedFailed(now, f, why, out)
	}
	if f.asked > 0 {
		f.asked--
		if f.asked > 0 || s.exchanging(b.Version) {
			return out
		}
	}
	return s.bodyFailed(now, b.Version, f, why, out)
}

// bodyFailed reports that v could not be had. f is the fetch of v; nil for none.
func (s *Swarm) bodyFailed(
	now step.Time, v record.VersionKey, f *fetch, why step.Failure, out step.Outputs,
) step.Outputs {
	lost := why.Reason == step.ReasonLinkLost
	if lost && !s.overlay.Attached() {
		s.bodies.fetches.release(f)
		return out // Resume asks the next parent
	}
	if why.Fault == step.FaultDenied {
		next, ok := s.askAbove(now, f, out)
		if ok {
			return next
		}
	}
	if lost && s.overlay.FetchLost(now, v) {
		s.bodies.fetches.release(f)
		return s.fetchNext(now, out)
	}
	s.bodies.fetches.forget(v, wire.AnyForm)
	out = s.endExchanges(v, out)
	out = s.bodies.deny(v, why.Reason, out)
	out = s.overlay.BodyFailed(now, v, why, out)
	return s.fetchNext(now, out)
}
