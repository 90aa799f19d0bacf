package hostile

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"banyan/simulator/world"
)

var (
	hostileSeeds = flag.Int("hostile-seeds", 150, "how many hostile histories to run")
	hostileDays  = flag.Int("hostile-days", 6, "how many hostile histories of a day to run")
)

// broke holds seeds that once broke an invariant. The causes were:
//
//   - A relay repeated an old pointer under a new revision and so hid a withheld pointer,
//     because heads named only a revision (130, 143, 152, 227, 299).
//   - A node that left two lying relays in turn was sent back to the first (236, 254, 288).
//   - A lying relay kept its place as long as some child had not met its lies (232, 546, 656,
//     698, 1291).
var broke = []uint64{130, 143, 152, 227, 232, 236, 254, 288, 299, 546, 656, 698, 1291}

// brokeTruth holds seeds in which a status once counted a host that ran something else:
//
//   - The store was restored from a backup, and an agent that had acknowledged a pointer of the
//     backup was ahead of it (964, 2048).
//   - A host without the body of a version on its disk applied the version (2423).
//   - An agent that was given another index repeated what it had acknowledged under the index before,
//     and acknowledged nothing under the new one (7549, 7950).
//   - The parent of an agent led on a restored store, and the backup knew the lost history: the leader never
//     heard what the agent had acknowledged of that history (4408).
//
// Or in which a planner had another picture of the tree than the tree:
//
//   - Agents that died together with their relay counted for ever, or the report of an agent was lost
//     with a link (4, 608, 2628).
//   - A clone took the children of the other instance out of the counts (70). Lists of children did not
//     correct the place of an agent that had had a clone (2744).
//   - An index was given twice after the store was restored (24, 64). Lists of children name agents by
//     index, and so did not show that two agents had one, below two parents or one (3001, 6799, 9615).
//   - The only list of an agent that had lost its last child was lost (3072, 3419), or came while the agent
//     was thought to be elsewhere (13107).
//   - A branch that the planner did not know became known by one level for each list (1757, 4564, 6436).
var brokeTruth = []uint64{
	4, 24, 64, 70, 608, 964, 1757, 2048, 2423, 2628, 2744, 3001, 3072, 3419, 4408, 4564, 6436, 6799, 7549, 7950,
	9615, 13107,
}

// brokeRestless holds seeds in which a parent that repeated old pointers and heads counted as late,
// and not as silent, while the backup withheld or forged what was new. In 13526 there was no other backup
// than the coordinator, which the agent had left as a parent.
var brokeRestless = []uint64{1837, 5409, 6812, 7292, 8422, 8757, 13526}

func TestTruthAParentThatRepeatsOldNewsIsLeft(t *testing.T) {
	for _, seed := range brokeRestless {
		judge(t, New(seed))
	}
}

// later reports whether a fault is of a kind that was added after the seeds in broke were found.
func later(f world.Fault) bool {
	return slices.Index(world.FaultKinds(), f.Kind) > slices.Index(world.FaultKinds(), world.FaultPoison)
}

func TestTruthStatusSaysWhatHostsRunInHostileHistories(t *testing.T) {
	for _, seed := range brokeTruth {
		judge(t, earlier(seed))
	}
}

// Zones go dark for hours, hosts restart every minute of a day, relays chatter, the leader's clock
// jumps: after a quiet hour every planner's picture is the tree, and whenever it is quiet the
// status is true.
func TestTruthThePictureIsTheTreeAfterDays(t *testing.T) {
	kinds := map[world.FaultKind]bool{}
	for seed := range uint64(*hostileDays) {
		h := NewLong(seed, 1)
		for _, f := range h.Faults {
			kinds[f.Kind] = true
		}
		judge(t, h)
	}
	if len(kinds) < 5 && *hostileDays >= 6 {
		t.Errorf("only faults of kinds %v", kinds)
	}
}

func TestNoInvariantBreaksWhateverGoesWrong(t *testing.T) {
	seeds := slices.Clone(broke)
	for i := range *hostileSeeds {
		seeds = append(seeds, uint64(i))
	}
	for n, seed := range seeds {
		h := New(seed)
		if n < len(broke) {
			h = earlier(seed)
			h.Config.RelayShare = 0 // the seeds were found when every agent subscribed
			h.Faults = slices.DeleteFunc(h.Faults, later)
		}
		out := judge(t, h)
		if n%20 == 0 {
			if again, _ := h.Run(true); again.History != out.History || again.Events != out.Events {
				t.Errorf("seed %d: two runs differ", seed)
			}
		}
		if out.Effects == 0 && h.Config.RelayShare == 0 { // otherwise no agent may subscribe
			t.Errorf("seed %d: nothing happened", seed)
		}
	}
}

// brokeForgetting holds seeds in which a relay repeated, to a host that had never heard a head that agreed, the
// pointer of a config that was deleted and forgotten. The host took the pointer for one that every parent had
// sent, and never showed it to the leader (1493, 2886). Or the host showed it to lying relays so often that
// another pointer, which came twice in a row and did not count as sent, was to be shown first (4897, 9734).
var brokeForgetting = []uint64{1493, 2886, 4897, 9734}

func TestTruthAForgottenDeletionReachesAHostBelowALyingRelay(t *testing.T) {
	for _, seed := range brokeForgetting {
		judge(t, New(seed))
	}
}

// Hosts forget deletions, names are used again, and hosts that were away over both return: in the end no
// host shows a deleted config, and every host has what the name stands for now.
func TestTruthDeletionsAreForgottenAndNamesUsedAgain(t *testing.T) {
	histories := 0
	forgotten := 0
	reused := 0
	for seed := uint64(0); histories < *hostileSeeds/5; seed++ {
		h := New(seed)
		if h.Config.DeletionMemory == 0 {
			continue
		}
		histories++
		forgotten += judge(t, h).Forgotten
		for i, u := range h.Updates {
			if u.Last && !u.Delete && i > 0 && h.Updates[i-1].Delete {
				reused++
			}
		}
	}
	if forgotten == 0 || reused == 0 {
		t.Errorf("in %d histories, hosts forgot %d deletions, and %d names were used again", histories, forgotten, reused)
	}
	t.Logf("in %d histories, hosts forgot %d deletions, and %d names were used again", histories, forgotten, reused)
}

// judge runs a history, and reports what the referee finds.
func judge(t *testing.T, h *History) Outcome {
	t.Helper()
	out, err := h.Run(false)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Violations) > 0 {
		small := h.Shrink()
		t.Errorf("seed %d: %s\nreproduce: %s\n%s",
			h.Seed, out.Violations[0], small.Command(), strings.Join(small.Describe(), "\n"))
	}
	return out
}
