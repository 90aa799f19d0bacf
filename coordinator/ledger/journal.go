package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"banyan/record"
	"banyan/versionstore"
)

// kindJournal is the kind of the documents that hold the entries of the journal, by number.
const kindJournal = "journal"

// Entry is an entry of the journal: who did what to which config, when and why.
type Entry struct {
	// Number counts the entries from 1.
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	What   string    `json:"what"`
	// Config is a config or a prefix of configs; "" if the entry is about neither.
	Config string `json:"config,omitempty"`
	Why    string `json:"why,omitempty"`
}

// JournalQuery selects entries of the journal. A zero field selects every entry.
type JournalQuery struct {
	// Prefix selects the entries about configs at or below a prefix.
	Prefix string
	By     string
	Since  time.Time
	// Limit is the maximum number of entries.
	Limit int
}

// matches reports whether the query selects an entry.
func (q JournalQuery) matches(e Entry) bool {
	below := q.Prefix == "" || record.InScope(e.Config, q.Prefix)
	return below && (q.By == "" || e.By == q.By) && !e.At.Before(q.Since)
}

// Journal returns the entries that a query selects, newest first.
func (l *Ledger) Journal(ctx context.Context, q JournalQuery) ([]Entry, error) {
	documents, err := versionstore.ListAll(ctx, l, kindJournal, "")
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i := len(documents) - 1; i >= 0 && (q.Limit == 0 || len(entries) < q.Limit); i-- {
		e, err := decodeEntry(documents[i].Raw)
		if err != nil {
			l.log.Error("entry of the journal skipped", "number", documents[i].Name, "error", err)
			continue
		}
		if q.matches(e) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// decodeEntry decodes a stored entry.
func decodeEntry(raw []byte) (e Entry, err error) {
	if len(raw) > versionstore.MaxDocument {
		return e, fmt.Errorf("%w: %d bytes, the limit is %d", record.ErrTooLarge, len(raw), versionstore.MaxDocument)
	}
	err = json.Unmarshal(raw, &e)
	return e, err
}

// journal returns the writes that add an entry for an act. The caller must be in an update.
func (l *Ledger) journal(ctx context.Context, act Act, now time.Time) ([]versionstore.DocumentWrite, error) {
	if act.What == "" {
		return nil, nil
	}
	last, err := l.lastEntry(ctx)
	if err != nil {
		return nil, err
	}
	e := Entry{
		Number: last + 1,
		At:     now,
		By:     act.who(),
		What:   cut(act.What),
		Config: act.Config,
		Why:    cut(act.Why),
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	writes := []versionstore.DocumentWrite{{Kind: kindJournal, Name: journalName(e.Number), Raw: raw}}
	if e.Number <= maxJournal {
		return writes, nil
	}
	stale := journalName(e.Number - maxJournal)
	d, err := l.Document(ctx, kindJournal, stale)
	if errors.Is(err, versionstore.ErrNotFound) {
		return writes, nil
	}
	if err != nil && !isUnreadable(err) {
		return nil, err
	}
	return append(writes, versionstore.DocumentWrite{Kind: kindJournal, Name: stale, IfSeq: d.Seq}), nil
}

// lastEntry returns the number of the newest entry; 0 if there is none. The ledger remembers the
// number of the entry that it read or wrote last. Another process that writes to the same store may
// have added entries after that one. Numbers have no gap, so lastEntry looks for the next number
// until there is no such entry.
func (l *Ledger) lastEntry(ctx context.Context) (uint64, error) {
	if l.journaled == 0 {
		documents, err := versionstore.ListAll(ctx, l, kindJournal, "")
		if err != nil || len(documents) == 0 {
			return 0, err
		}
		l.journaled, err = strconv.ParseUint(documents[len(documents)-1].Name, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("journal: %w", err)
		}
	}
	for {
		_, err := l.Document(ctx, kindJournal, journalName(l.journaled+1))
		if errors.Is(err, versionstore.ErrNotFound) {
			return l.journaled, nil
		}
		if err != nil && !isUnreadable(err) {
			return 0, err
		}
		l.journaled++
	}
}

// journalName returns the document name of an entry. Names sort by number.
func journalName(number uint64) string { return fmt.Sprintf("%020d", number) }

// cut shortens a text to maxJournalText bytes.
func cut(s string) string {
	if len(s) <= maxJournalText {
		return s
	}
	return strings.ToValidUTF8(s[:maxJournalText], "") + "…"
}
