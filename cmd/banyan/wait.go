package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/rollout"
)

func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 30*time.Second,
		"`TIME` to wait until every agent has applied; 0 for not at all")
	notNegative(cmd.Flags(), "wait")
}

// awaited is what waitApplied waits for.
type awaited struct {
	versions map[string]uint64 // that must be live, by region
	gates    rollout.Gates     // say how many hosts need not be heard of
	wait     time.Duration     // maximum time; 0 for one look
}

// settled reports whether a region has done what is awaited: every agent in its tree has applied
// the pointer, and enough of its hosts are in the tree; or another version has replaced the awaited.
func (w awaited) settled(r api.RegionStatus) bool {
	if w.replaced(r) {
		return true
	}
	return w.heard(r) && r.Applied >= uint64(r.Agents) && r.Failed == 0
}

// heard reports whether enough of a region's hosts are in the tree.
func (w awaited) heard(r api.RegionStatus) bool {
	return !r.Unreachable && r.Unheard <= w.gates.Tolerated(r.Hosts)
}

// replaced reports whether another version than the awaited one is live in a region.
func (w awaited) replaced(r api.RegionStatus) bool { return r.Version != w.versions[r.Region] }

// waitApplied polls until every region has settled. It returns an error if no host has applied
// anything.
func (a *app) waitApplied(
	ctx context.Context, client *api.Client, config string, w awaited,
) ([]api.RegionStatus, error) {
	defer a.progressDone()
	deadline := time.Now().Add(w.wait)
	for {
		s, err := client.ConfigStatus(ctx, config)
		if err != nil {
			return nil, err
		}
		var regions []api.RegionStatus
		var applied uint64
		hosts := 0
		complete := true
		for _, r := range s.Regions {
			if _, waits := w.versions[r.Region]; !waits {
				continue
			}
			regions = append(regions, r)
			applied += r.Applied
			hosts += r.Hosts
			complete = complete && w.settled(r)
		}
		switch {
		case w.wait == 0:
			return regions, nil
		case complete && applied == 0 && len(regions) > 0 && !slices.ContainsFunc(regions, w.replaced):
			return regions, nobody(config, hosts)
		case complete:
			return regions, nil
		case time.Now().After(deadline):
			err := fmt.Errorf("%w: %s is applied on %d of %s after %s%s",
				errTimedOut, config, applied, quantity.Of(hosts, "host"), rounded(w.wait), w.missing(regions))
			return regions, withHint(err, "hosts go on applying; 'banyan status "+config+"' shows which fail, and why")
		}
		a.progress("%d of %s%s", applied, quantity.Of(hosts, "host"), w.missing(regions))
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return regions, ctx.Err()
		}
	}
}

// outOfSight returns the error of a wait that lost the coordinator with err, after a command did what
// done says. It returns other errors, such as that of a time-out, unchanged.
func outOfSight(err error, config, done string) error {
	answered := api.IsCode(err, api.CodeUnavailable) || api.IsCode(err, api.CodeInternal)
	if !answered && !errors.Is(err, api.ErrUnreachable) {
		return err
	}
	return withHint(fmt.Errorf("%s; what became of it is %w: %w", done, errUnknown, err),
		"when the coordinator answers again: banyan status "+config)
}

// nobody returns the error of a pointer that moved and that no host follows.
func nobody(config string, hosts int) error {
	err := fmt.Errorf("%w: no host is known to run what the pointer of %s says", errNobody, config)
	if hosts == 0 {
		return withHint(err, "no host that subscribes to it has ever attached; hosts take it up when they do")
	}
	return withHint(err, "hosts take it up when they are back; 'banyan agents --all' shows who is missing")
}
