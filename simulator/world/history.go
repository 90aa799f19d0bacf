package world

// This file makes several histories of one store: a backup that is restored, and a second
// leader on a copy.

// restoreBackup replaces the store of the leader by an older copy, and starts the leader anew.
func (w *World) restoreBackup(backup *store, careless bool) {
	w.Crash(0)
	w.hosts[0].store = backup
	w.histories++
	backup.history = w.histories
	if !careless {
		w.RaiseTerm(0)
	}
	w.Start(0)
}

// promote makes follower i lead on a copy of the leader's store, which goes on leading.
func (w *World) promote(i int32, careless bool) {
	w.Crash(i)
	w.hosts[i].store = w.store().backup()
	w.histories++
	w.hosts[i].store.history = w.histories
	if !careless {
		w.RaiseTerm(i)
	}
	w.Start(i)
}

// demote makes coordinator i follow the leader again, whose store begins a new term.
func (w *World) demote(i int32) {
	w.Crash(i)
	w.hosts[i].store = nil
	w.Start(i)
	w.RaiseTerm(0)
}

// RaiseTerm begins a term in the store of a leader that no store has used: every pointer is
// committed anew. In production, a person does so after a restore or a promotion.
func (w *World) RaiseTerm(leader int32) {
	w.terms++
	for _, a := range w.hosts[leader].store.raise(w.terms, w.clock(leader)) {
		w.announce(leader, a)
	}
}
