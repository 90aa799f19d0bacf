package world

import (
	"fmt"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// traceOutput writes an output to the trace if a reader of a failure needs the output.
func (w *World) traceOutput(i int32, o *step.Output) {
	name := w.hosts[i].ident.Name
	switch o.Op {
	case step.OpSend:
		if m, ok := o.Message.(*wire.Decline); ok {
			w.trace("%s declines %d shards of %s version %d",
				name, m.Shards.Count(), m.Key.Config, m.Key.Version)
		}
	case step.OpAttached:
		w.trace("%s attached to %s", name, w.hosts[w.links[o.Peer].remote].ident.Name)
	case step.OpRefused:
		w.trace("%s refused: %s", name, o.Reason)
	case step.OpGap:
		w.trace("%s noticed a gap: the head is at revision %d", name, o.Revision)
	case step.OpDrop:
		w.trace("%s dropped %s: %s", name, w.hosts[w.links[o.Peer].remote].ident.Name, o.Reason)
	case step.OpAccepted:
		p := o.Pointer.Announcement.Pointer
		w.trace("%s accepted %s epoch %d", name, p.Config, p.Epoch)
	case step.OpKeep:
		p := o.Pointer.Announcement.Pointer
		w.trace("%s keeps %s epoch %d", name, p.Config, p.Epoch)
	case step.OpActivate:
		p := o.Pointer.Announcement.Pointer
		w.trace("%s applies %s epoch %d, version %d", name, p.Config, p.Epoch, o.Pointer.Version.Version)
	}
}

// Trace makes the world call fn with a line for every event that a reader of a failure
// needs. Each line begins with the virtual time.
func (w *World) Trace(fn func(line string)) {
	w.trace = func(format string, args ...any) {
		fn(fmt.Sprintf("%10.3fs  ", time.Duration(w.now).Seconds()) + fmt.Sprintf(format, args...))
	}
}
