package mesh

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// pointers holds the newest verified pointer of each config, and what the heads say
// about the pointers.
type pointers struct {
	cfg     *Config
	configs map[record.PointerKey]*configState

	// By region: the newest revision seen, the hash of all pointers, and the announcements
	// in the order of revisions.
	revisions map[string]uint64
	states    map[string]*record.State
	ledgers   map[string]*ledger

	unsettled unsettled
	waving    map[record.PointerKey]struct{} // of this region, with a candidate
	// restored are the pointers that were applied before the node started, and were not
	// acknowledged since.
	restored []record.PointerKey

	confirmed uint64      // revision of the newest head that agreed with the pointers
	head      record.Head // the newest relayed head; it may disagree with the pointers
	headRaw   *wire.SignedHead
	headAt    record.Position // of the newest verified head
	lastRaw   []byte          // the pointer that was accepted last
	lastKey   record.PointerKey
	tellings  int // the number of times that every pointer was asked for
}

func newPointers(cfg *Config) pointers {
	return pointers{
		cfg:       cfg,
		configs:   map[record.PointerKey]*configState{},
		revisions: map[string]uint64{},
		states:    map[string]*record.State{},
		ledgers:   map[string]*ledger{},
		unsettled: newUnsettled(),
		waving:    map[record.PointerKey]struct{}{},
	}
}

// configState is the state of one pointer at the node.
type configState struct {
	latest  *wire.Announcement // the newest verified pointer
	since   record.Position    // of the pointer that brought the candidate, or removed the last candidate
	applied record.Digest      // of the pointer applied last; zero for none
	running record.Ref         // version that the node runs
	// acknowledged is the digest of the pointer whose success was acknowledged.
	acknowledged record.Digest
	latency      int64         // time from signature to apply, in microseconds; 0 if applied before the node started
	pushed       record.Digest // of the version that was relayed last in a Push
	busy         bool          // an OpActivate is under way
	attempt      int           // failed fetches and activations of the newest pointer
	// told is the value of pointers.tellings when a peer sent the newest pointer last.
	told int
	// owed is true if another peer than the parent sent the newest pointer, and the parent has not.
	owed bool
	// shown is the number of times that the node showed the pointer, or an earlier one of the config, as
	// evidence because no peer sent it, since every pointer was asked for last.
	shown int
}

func (s *configState) isApplied() bool { return s.applied == s.latest.Digest }

// stages reports whether the pointer has version fetched without running it.
func (s *configState) stages(version record.Ref) bool {
	p := &s.latest.Pointer
	return p.Phase == record.PhaseStage && p.Candidate == version && !version.IsZero()
}

// names reports whether the pointer names version.
func (s *configState) names(version record.Ref) bool {
	p := &s.latest.Pointer
	return !version.IsZero() && (version == p.Baseline || version == p.Candidate)
}

// ownKey returns the key of the pointer of config in the node's own region.
func (p *pointers) ownKey(config string) record.PointerKey {
	return record.PointerKey{Config: config, Region: p.cfg.Self.Region}
}

// own returns the state of config in the node's own region; nil if there is no pointer.
func (p *pointers) own(config string) *configState { return p.configs[p.ownKey(config)] }

// isFull reports whether the node tracks as many pointers of a region, or of all, as it can.
func (p *pointers) isFull(region string) bool {
	l := p.ledgers[region]
	return l != nil && l.live >= MaxConfigs || len(p.configs) >= MaxPointers
}

// create returns a new state for key.
func (p *pointers) create(key record.PointerKey) *configState {
	s := &configState{}
	p.configs[key] = s
	return s
}

// versionFor returns the version for the node to run: the zero Ref for a config that the node
// does not subscribe to.
func (p *pointers) versionFor(s *configState) record.Ref {
	pointer := &s.latest.Pointer
	if !p.cfg.subscribes(pointer.Config) {
		return record.Ref{}
	}
	return pointer.VersionFor(p.cfg.Self.Name, p.cfg.Labels)
}

// needs reports whether the node must fetch version of the config of s.
func (p *pointers) needs(s *configState, version record.Ref) bool {
	toRun := !s.isApplied() && p.versionFor(s) == version
	return toRun || s.stages(version)
}

// isNamed reports whether a pointer of the node's region names a version.
func (p *pointers) isNamed(v record.VersionKey) bool {
	s := p.own(v.Config)
	return s != nil && s.names(v.Ref())
}

// adopt makes an announcement the newest of its config.
func (p *pointers) adopt(key record.PointerKey, s *configState, a *wire.Announcement) {
	state := p.states[key.Region]
	if state == nil {
		state = &record.State{}
		p.states[key.Region] = state
	}
	l := p.ledgers[key.Region]
	if l == nil {
		l = &ledger{}
		p.ledgers[key.Region] = l
	}
	before := s.latest
	if before != nil {
		state.RemovePointer(&before.Pointer, before.Digest)
	}
	state.AddPointer(&a.Pointer, a.Digest)
	if before == nil || before.Pointer.Candidate != a.Pointer.Candidate {
		s.since = a.Pointer.Position()
	}
	s.latest = a
	p.unsettled.moved(key, a.Revision)
	if key.Region == p.cfg.Self.Region && !a.Pointer.Candidate.IsZero() {
		p.waving[key] = struct{}{}
	} else {
		delete(p.waving, key)
	}
	l.add(a, before != nil, p.isCurrent)
}

// isCurrent reports whether an announcement is the newest of its config.
func (p *pointers) isCurrent(a *wire.Announcement) bool {
	s := p.configs[a.Pointer.Key()]
	return s != nil && s.latest == a
}

// check compares a verified announcement of the node's own region with the pointer that
// the node has. known means that the node has the announcement already; a reason says
// why the announcement is refused.
func (p *pointers) check(a *wire.Announcement) (known bool, reason string) {
	s := p.configs[a.Pointer.Key()]
	switch {
	case s == nil && p.isFull(a.Pointer.Region):
		return false, "too_many_configs"
	case s == nil:
		return false, ""
	case a.Digest == s.latest.Digest:
		return true, ""
	case a.Pointer.Position() < s.latest.Pointer.Position():
		return false, "stale_epoch"
	case a.Pointer.Position() == s.latest.Pointer.Position():
		return false, "conflicting_epoch"
	}
	return false, ""
}

// contradict reports whether an acknowledgement is for another pointer than the node's
// newest, at the same position: one of the two is from a history of the store that was lost.
func (p *pointers) contradict(e *wire.AckEntry) bool {
	s := p.configs[e.Key()]
	return s != nil && e.Position == s.latest.Pointer.Position() && e.Pointer != s.latest.Digest
}

// isLast reports whether raw is the pointer that was accepted last. The signature of a
// pointer that came twice in a row need not be checked again.
func (p *pointers) isLast(raw []byte) bool { return len(raw) > 0 && bytes.Equal(raw, p.lastRaw) }

// sawRevision notes the revision of an announcement from a peer.
func (p *pointers) sawRevision(a *wire.Announcement) {
	region := p.cfg.Self.Region
	p.revisions[region] = max(p.revisions[region], a.Revision)
}

// confirm sets the revision up to which the pointers are known to be complete: from disk,
// from a head that agrees, or 0 to ask for every pointer.
func (p *pointers) confirm(revision uint64) {
	if revision == 0 && (p.confirmed != 0 || p.tellings == 0) {
		p.beginTelling()
	}
	p.revisions[p.cfg.Self.Region] = revision
	p.confirmed = revision
}

// askAnew notes that the next parent is asked for every pointer. Pointers that were sent before then do not
// count as told.
func (p *pointers) askAnew() {
	p.beginTelling()
	p.revisions[p.cfg.Self.Region] = 0
	p.confirmed = 0
}

// beginTelling notes that every pointer is asked for. How often each was shown is counted anew: a pointer
// that former parents did not pass on is shown to the next one as soon as others.
func (p *pointers) beginTelling() {
	p.tellings++
	for _, s := range p.configs {
		s.shown = 0
	}
}

// untold returns a pointer of the node's region that no peer sent since every pointer was asked for
// last, and that contributes to the state: the one that was shown least often, and among these the
// one with the lowest revision. It returns nil if there is none.
func (p *pointers) untold() *configState {
	var found *configState
	for key, s := range p.configs {
		missing := key.Region == p.cfg.Self.Region && s.told < p.tellings && !s.latest.Pointer.Deleted()
		if missing && (found == nil || s.compareShown(found) < 0) {
			found = s
		}
	}
	return found
}

// compareShown orders the pointers of a region by how often they were shown, then by revision.
func (s *configState) compareShown(o *configState) int {
	return cmp.Or(
		cmp.Compare(s.shown, o.shown),
		cmp.Compare(s.latest.Revision, o.latest.Revision),
		cmp.Compare(s.latest.Pointer.Config, o.latest.Pointer.Config),
	)
}

// forget forgets the deletion of a config. It does nothing if the config is not deleted, or if the
// deletion is not applied yet.
func (p *pointers) forget(key record.PointerKey) bool {
	s := p.configs[key]
	if s == nil || !s.latest.Pointer.Deleted() || s.busy {
		return false
	}
	if _, unsettled := p.unsettled.revisions[key]; unsettled {
		return false
	}
	delete(p.configs, key)
	p.ledgers[key.Region].live--
	if p.isLast(s.latest.Raw) {
		p.lastRaw = nil // the same pointer is news if it comes again
	}
	return true
}

// state returns the hash of a region's pointers.
func (p *pointers) state(region string) record.State {
	if s := p.states[region]; s != nil {
		return *s
	}
	return record.State{}
}

// newest returns the pointer of a region with the highest revision; nil if there is none.
func (p *pointers) newest(region string) *wire.Announcement {
	l := p.ledgers[region]
	if l == nil || len(l.list) == 0 {
		return nil
	}
	return l.list[len(l.list)-1]
}

// progress returns the node's progress, for the shadows.
func (p *pointers) progress() wire.Notice {
	return wire.Notice{Revision: p.revisions[p.cfg.Self.Region], Head: p.head.Position()}
}

// isBehind reports whether another node knows more than the node.
func (p *pointers) isBehind(m wire.Notice) bool {
	return m.Revision > p.revisions[p.cfg.Self.Region] || m.Head > p.headAt
}

// catchUpSince returns the revision after which to ask for changes.
func (p *pointers) catchUpSince() uint64 { return min(p.revisions[p.cfg.Self.Region], p.confirmed) }

// attachSince returns the revision for an Attach: like catchUpSince, but before the first
// pointer that was not applied, so that such pointers are sent again.
func (p *pointers) attachSince() uint64 { return min(p.watermark(), p.confirmed) }

// watermark returns the revision up to which the node has every pointer and has applied it. Pointers
// of one revision arrive one after another, so the newest revision may be incomplete until a head
// confirms it.
func (p *pointers) watermark() uint64 {
	w := p.revisions[p.cfg.Self.Region]
	if w > p.confirmed {
		w--
	}
	if first, ok := p.unsettled.first(); ok && first <= w {
		w = max(first, 1) - 1
	}
	return w
}

// candidates returns the pointers of the node's region that have a candidate, by config.
func (p *pointers) candidates() []tree.Candidate {
	byConfig := func(a, b record.PointerKey) int { return cmp.Compare(a.Config, b.Config) }
	var all []tree.Candidate
	for _, key := range slices.SortedFunc(maps.Keys(p.waving), byConfig) {
		s := p.configs[key]
		all = append(all, tree.Candidate{Pointer: &s.latest.Pointer, Since: s.since})
	}
	return all
}

// sendPage sends a peer the pointers of a region that changed after a revision, oldest
// first: one page of them and, if that is all, the newest head. last is the revision of
// the last pointer sent.
func (p *pointers) sendPage(
	to step.PeerID, region string, since uint64, out step.Outputs,
) (_ step.Outputs, last uint64, more bool) {
	var page []*wire.Announcement
	if l := p.ledgers[region]; l != nil {
		page, more = l.since(since, catchUpPage, p.isCurrent)
	}
	for _, a := range page {
		last = a.Revision
		if a.Pushed { // no Push follows this time
			fresh := *a
			fresh.Pushed = false
			a = &fresh
		}
		out = send(to, a, out)
	}
	if !more && p.headRaw != nil && p.head.Region == region && p.head.State == p.state(region) {
		out = send(to, p.headRaw, out) // an older head would accuse the node of a gap
	}
	return out, last, more
}
