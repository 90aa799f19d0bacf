package mesh

import (
	"cmp"
	"slices"

	"banyan/mesh/wire"
)

// ledger holds the newest announcements of a region by revision, so that those that
// changed after a revision are found without a look at all of them.
type ledger struct {
	list []*wire.Announcement // by revision; some are no longer current
	live int                  // number of current announcements
}

// add inserts an announcement, most often at the end. replaces reports that an older
// announcement of the same config is no longer current.
func (l *ledger) add(a *wire.Announcement, replaces bool, current func(*wire.Announcement) bool) {
	if !replaces {
		l.live++
	}
	if len(l.list) > 2*l.live+64 {
		l.list = slices.DeleteFunc(l.list, func(a *wire.Announcement) bool { return !current(a) })
	}
	i := len(l.list)
	if i > 0 && l.list[i-1].Revision > a.Revision {
		i, _ = slices.BinarySearchFunc(l.list, a.Revision+1, byRevision)
	}
	l.list = slices.Insert(l.list, i, a)
}

func byRevision(a *wire.Announcement, revision uint64) int { return cmp.Compare(a.Revision, revision) }

// since returns the current announcements after a revision, oldest first: about limit of
// them, because all announcements of one revision come together. more reports whether
// further announcements follow.
func (l *ledger) since(
	revision uint64, limit int, current func(*wire.Announcement) bool,
) (page []*wire.Announcement, more bool) {
	i, _ := slices.BinarySearchFunc(l.list, revision+1, byRevision)
	for ; i < len(l.list); i++ {
		a := l.list[i]
		if !current(a) {
			continue
		}
		if len(page) >= limit && a.Revision != page[len(page)-1].Revision {
			return page, true
		}
		page = append(page, a)
	}
	return page, false
}
