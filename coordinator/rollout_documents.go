package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"banyan/rollout"
	"banyan/versionstore"
)

const (
	// kindRollout is the kind of the documents that hold the newest rollout of a config, by
	// the name of the config.
	kindRollout = "rollout"
	// kindHistory is the kind of the documents that hold the rollouts before, by config and
	// number.
	kindHistory = "rollout-history"
	// kindUnreadable is the kind of the documents that were set aside because they could not be
	// read, by their kind and name and the time.
	kindUnreadable = "unreadable"
)

// newestRollout returns the newest rollout of config and the sequence of its document.
func newestRollout(
	ctx context.Context,
	store versionstore.Reader,
	config string,
) (s rollout.State, seq uint64, err error) {
	d, err := store.Document(ctx, kindRollout, config)
	if isNotFound(err) {
		return s, 0, notFoundf("there was no rollout of %s yet", config)
	}
	if err != nil {
		return s, 0, err
	}
	s, err = decodeRollout(d)
	return s, d.Seq, err
}

// newestRollouts returns the newest rollout of configs whose names sort after the name after, by
// config: at most pageOfRollouts. next is the name after which others follow; "" for none.
func newestRollouts(
	ctx context.Context, store versionstore.Reader, after string,
) (states []rollout.State, next string, err error) {
	documents, err := store.List(ctx, kindRollout, "", after, pageOfRollouts)
	if err != nil {
		return nil, "", err
	}
	if len(documents) == pageOfRollouts {
		next = documents[pageOfRollouts-1].Name
	}
	return decodeRollouts(documents), next, nil
}

// rolloutsOf returns the rollouts of config, newest first.
func rolloutsOf(ctx context.Context, store versionstore.Reader, config string) ([]rollout.State, error) {
	var documents []versionstore.Document
	newest, err := store.Document(ctx, kindRollout, config)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		documents = append(documents, newest)
	}
	history, err := versionstore.ListAll(ctx, store, kindHistory, config+" ")
	if err != nil {
		return nil, err
	}
	slices.Reverse(history)
	return decodeRollouts(append(documents, history...)), nil
}

// decodeRollouts returns the rollouts in documents. It skips a document that can't be read: one in
// the history is of no use to anybody, and the controller reports the others.
func decodeRollouts(documents []versionstore.Document) []rollout.State {
	var states []rollout.State
	for _, d := range documents {
		s, err := decodeRollout(d)
		if err == nil {
			states = append(states, s)
		}
	}
	return states
}

// nextID returns the number of the next rollout of a config without a newest rollout: 1, or the
// number after those in the history and the one that was set aside.
func nextID(ctx context.Context, store versionstore.Reader, config string) (uint64, error) {
	history, err := versionstore.ListAll(ctx, store, kindHistory, config+" ")
	if err != nil || len(history) == 0 {
		return 1, err
	}
	last, err := strconv.ParseUint(strings.TrimPrefix(history[len(history)-1].Name, config+" "), 10, 64)
	return last + 2, err
}

// decodeRollout returns the rollout in a document.
func decodeRollout(d versionstore.Document) (s rollout.State, err error) {
	if err := decodeDocument(d, &s); err != nil {
		return s, fmt.Errorf("rollout of %s: %w", d.Name, err)
	}
	if s.ID == 0 || d.Kind == kindRollout && s.Config != d.Name {
		return s, fmt.Errorf("rollout of %s: the document is of rollout %d of %q", d.Name, s.ID, s.Config)
	}
	return s, nil
}

// writeOf returns the write that replaces the newest rollout of a config by s. seq is the
// sequence of the document before the write; 0 if there is none.
func writeOf(s rollout.State, seq uint64) (versionstore.DocumentWrite, error) {
	raw, err := json.Marshal(s)
	return versionstore.DocumentWrite{Kind: kindRollout, Name: s.Config, Raw: raw, IfSeq: seq}, err
}

// archiveOf returns the writes that move a rollout to the history, and that remove the
// rollout before keptHistory others.
func archiveOf(
	ctx context.Context,
	store versionstore.Reader,
	s rollout.State,
) ([]versionstore.DocumentWrite, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	writes := []versionstore.DocumentWrite{{Kind: kindHistory, Name: historyName(s.Config, s.ID), Raw: raw}}
	if s.ID <= keptHistory {
		return writes, nil
	}
	stale, err := store.Document(ctx, kindHistory, historyName(s.Config, s.ID-keptHistory))
	if errors.Is(err, versionstore.ErrNotFound) {
		return writes, nil
	}
	if err != nil {
		return nil, err
	}
	remove := versionstore.DocumentWrite{Kind: kindHistory, Name: stale.Name, IfSeq: stale.Seq}
	return append(writes, remove), nil
}

// historyName returns the document name of a rollout in the history. Names of a config sort
// by number.
func historyName(config string, id uint64) string { return fmt.Sprintf("%s %010d", config, id) }
