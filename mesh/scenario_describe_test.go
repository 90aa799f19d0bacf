package mesh

import (
	"fmt"
	"strings"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// This file describes outputs and messages in words, for scenarios.

func (s *scenario) describe(o step.Output) string {
	to := s.names[o.Peer]
	switch o.Op {
	case step.OpSend:
		return fmt.Sprintf("send to %s: %s", to, describeMessage(o.Message))
	case step.OpConnect:
		return "connect to " + o.Addr
	case step.OpDrop:
		return fmt.Sprintf("drop %s: %s", to, o.Reason)
	case step.OpStore:
		return fmt.Sprintf("store %s version %d", o.Push.Config, o.Push.Version)
	case step.OpFetch:
		text := fmt.Sprintf("fetch %s version %d from %s", o.Body.Version.Config, o.Body.Version.Version, to)
		if o.Body.ForOthers {
			text += fmt.Sprintf(", for request %d of others", o.Body.Request)
		}
		return text + describeChoice(o.Body.Choice)
	case step.OpSendShard:
		return fmt.Sprintf("send shard %d to %s", o.Shard.Number, to)
	case step.OpServe:
		return fmt.Sprintf("serve request %d: %s version %d", o.Body.Request, o.Body.Version.Config, o.Body.Version.Version) + describeChoice(o.Body.Choice)
	case step.OpAssemble:
		v := o.Body.Version
		return fmt.Sprintf("assemble %s version %d, form %d", v.Config, v.Version, o.Shard.Key.Form)
	case step.OpDuplicate:
		return "duplicate shard of " + o.Body.Version.Config
	case step.OpGossip:
		return "join the gossip pool"
	case step.OpAbandon:
		return fmt.Sprintf("abandon %s version %d", o.Body.Version.Config, o.Body.Version.Version)
	case step.OpSuspect:
		return "suspect " + o.Name
	case step.OpDeny:
		return fmt.Sprintf("deny request %d: %s", o.Body.Request, o.Reason)
	case step.OpActivate:
		return fmt.Sprintf("apply %s epoch %d: version %d", o.Pointer.Announcement.Pointer.Config, o.Pointer.Announcement.Pointer.Epoch, o.Pointer.Version.Version)
	case step.OpKeep:
		return fmt.Sprintf("keep %s epoch %d", o.Pointer.Announcement.Pointer.Config, o.Pointer.Announcement.Pointer.Epoch)
	case step.OpAccepted:
		return fmt.Sprintf("accepted %s epoch %d", o.Pointer.Announcement.Pointer.Config, o.Pointer.Announcement.Pointer.Epoch)
	case step.OpRefused:
		return "refused: " + o.Reason
	case step.OpHead:
		return fmt.Sprintf("head: revision %d", o.Head.Revision)
	case step.OpAcked:
		return "acknowledged: " + describeMessage(o.Message)
	case step.OpAttached:
		return "attached to " + to
	case step.OpBehind:
		return "behind " + describeEvidence(o)
	case step.OpRecovered:
		return "recovered from " + to + ": " + describeEvidence(o)
	case step.OpSentAll:
		return "all pointers came from " + to
	case step.OpPlaced:
		return fmt.Sprintf("agents placed: %d", o.Count)
	case step.OpQuarantined:
		return fmt.Sprintf("quarantined for %s: %s, %s", o.Body.Version.Config, o.Name, o.Reason)
	case step.OpReleased:
		return fmt.Sprintf("released for %s: %s", o.Body.Version.Config, o.Name)
	case step.OpDrifted:
		return "heard of " + describeMessage(o.Message)
	case step.OpCensus:
		return "counted: " + describeMessage(o.Message)
	case step.OpHoldings:
		return "heard: " + describeMessage(o.Message)
	case step.OpAccused:
		return fmt.Sprintf("%s accuses %s", to, o.Name)
	case step.OpAwaitDrain:
		return "await that all has left to " + to
	case step.OpSlow:
		return to + " does not keep up"
	case step.OpAlone:
		return fmt.Sprintf("no parent by %s: %s", o.Addr, o.Reason)
	case step.OpReserve:
		return "reserve agent indices"
	case step.OpGap:
		return fmt.Sprintf("gap: the head is at revision %d", o.Revision)
	}
	return fmt.Sprintf("output %d", o.Op)
}

func describeChoice(c wire.FormChoice) string {
	if form, only := c.Form(); only {
		return fmt.Sprintf(", form %d alone", form)
	}
	return ""
}

func describeShards(set *bitset.BitSet) string {
	var all []string
	for n, ok := set.NextSet(0); ok; n, ok = set.NextSet(n + 1) {
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, " ")
}

func accusation(m *wire.Join) string {
	if m.Accuse == "" {
		return ""
	}
	return ", accuses " + m.Accuse
}

func describeMessage(m wire.Message) string {
	switch m := m.(type) {
	case *wire.Join:
		return fmt.Sprintf("join (index %d, avoids %q)", int(m.Index)-1, m.Avoid) + accusation(m)
	case *wire.Placement:
		return fmt.Sprintf("placement index %d parent %q", m.Index, m.Parent.Name)
	case *wire.Attach:
		return fmt.Sprintf("attach index %d since %d", m.Index, m.Since)
	case *wire.Announcement:
		if m.Pushed {
			return fmt.Sprintf("announcement %q revision %d, pushed", m.Raw, m.Revision)
		}
		return fmt.Sprintf("announcement %q revision %d", m.Raw, m.Revision)
	case *wire.Batch:
		var revisions []string
		for _, p := range m.Pointers {
			revisions = append(revisions, fmt.Sprint(p.Revision))
			if p.Pushed {
				revisions = append(revisions, "(pushed)")
			}
		}
		return fmt.Sprintf("batch under %q of revisions %s", m.Root, strings.Join(revisions, " "))
	case *wire.Push:
		return fmt.Sprintf("push %s version %d", m.Config, m.Version)
	case *wire.SignedHead:
		return strings.Join(strings.Fields(string(m.Raw))[:4], " ")
	case *wire.Want:
		text := fmt.Sprintf("want %s version %d", m.Key.Config, m.Key.Version)
		if m.Shards.Any() {
			text += ", shards " + describeShards(m.Shards)
		}
		if m.Cancel.Any() {
			text += ", no longer " + describeShards(m.Cancel)
		}
		return text
	case *wire.Survey:
		return fmt.Sprintf("survey %d of %s version %d", m.ID, m.Config, m.Version)
	case *wire.Holdings:
		var held []string
		for _, h := range m.Held {
			switch {
			case h.Whole:
				held = append(held, h.Name+" all")
			case h.Of == 0:
				held = append(held, h.Name+" nothing")
			case h.Cached:
				held = append(held, fmt.Sprintf("%s %d of %d for others", h.Name, h.Shards, h.Of))
			default:
				held = append(held, fmt.Sprintf("%s %d of %d", h.Name, h.Shards, h.Of))
			}
		}
		return fmt.Sprintf("holdings for survey %d: %s", m.ID, strings.Join(held, ", "))
	case *wire.Decline:
		return fmt.Sprintf("declined %s version %d, shards %s", m.Key.Config, m.Key.Version, describeShards(m.Shards))
	case *wire.CatchUp:
		if m.Paged {
			return fmt.Sprintf("catch up since %d, one page", m.Since)
		}
		return fmt.Sprintf("catch up since %d", m.Since)
	case *wire.Page:
		if m.More {
			return fmt.Sprintf("page up to %d, and more", m.Last)
		}
		return fmt.Sprintf("page up to %d, the last", m.Last)
	case *wire.Adopted:
		var names []string
		for _, a := range m.Members {
			names = append(names, a.Name)
		}
		return fmt.Sprintf("adopted under %d: %s", m.Parent, strings.Join(names, " "))
	case *wire.Attached:
		if len(m.Path) > 0 {
			return fmt.Sprintf("attached, path %v", m.Path)
		}
	case *wire.Circles:
		var below []string
		for _, c := range m.Below {
			below = append(below, describeCircle(c))
		}
		return "circles below: " + strings.Join(below, "; ")
	case *wire.Stored:
		return fmt.Sprintf("stored %s version %d", m.Config, m.Version)
	case *wire.Shadow:
		return "be my backup"
	case *wire.RollCall:
		var of, list string
		switch {
		case m.All:
			of = " of all"
		case len(m.Of) > 0:
			of = fmt.Sprintf(" of %v", m.Of)
		}
		if len(m.List) > 0 {
			list = fmt.Sprintf(", lists of %v", m.List)
		}
		return "roll call" + of + list
	case *wire.Displaced:
		return fmt.Sprintf("displaced: index %d", m.Index)
	case *wire.Families:
		return fmt.Sprintf("families %v", m.Families)
	case *wire.Notice:
		return fmt.Sprintf("notice: revision %d, head %d", m.Revision, m.Head)
	case *wire.Accusation:
		return fmt.Sprintf("%d accuses %s", m.Accuser, m.Name)
	case *wire.Gone:
		return fmt.Sprintf("gone from %d: %v", m.Parent, m.Agents)
	case *wire.Rejected:
		return "rejected: " + m.Reason
	case *wire.Drift:
		return fmt.Sprintf("drift of %s version %d on %s: %d", m.Config, m.Version, m.Name, m.State)
	case *wire.Census:
		text := fmt.Sprintf("census: %d agents", m.Agents)
		for _, w := range m.Waves {
			text += fmt.Sprintf(", %d of %d in the wave of %s epoch %d", w.InWave, w.Agents, w.Config, w.Position.Epoch())
		}
		for _, q := range m.Quarantined {
			text += fmt.Sprintf(", %s quarantined for %s epoch %d (%s)", q.Name, q.Config, q.Position.Epoch(), q.Reason)
		}
		return text
	case *wire.Ack:
		var parts []string
		for _, e := range m.Entries {
			part := fmt.Sprintf("%s epoch %d applied %v failed %v", e.Config, e.Position.Epoch(), e.Applied.ToArray(), e.Failed.ToArray())
			for _, f := range e.Failures {
				if !e.Failed.Contains(f.Agent) {
					part += fmt.Sprintf(" delayed [%d] (%s)", f.Agent, f.Reason)
				}
			}
			if !e.Running.IsEmpty() {
				part += fmt.Sprintf(" running the candidate %v", e.Running.ToArray())
			}
			parts = append(parts, part)
		}
		return "ack " + strings.Join(parts, "; ")
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m), "*wire."))
}

func describeEvidence(o step.Output) string {
	if o.Pointer.Announcement == nil {
		return fmt.Sprintf("head of revision %d", o.Head.Revision)
	}
	return o.Pointer.Announcement.Pointer.String()
}

func describeLocations(all []wire.Location) string {
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return strings.Join(names, " ")
}

func describeCircle(c *wire.Circle) string {
	return fmt.Sprintf("circle of %s, fed by %s", describeLocations(c.Members), describeLocations(c.Feeders))
}
