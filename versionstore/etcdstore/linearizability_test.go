package etcdstore_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"banyan/versionstore"
	"banyan/versionstore/etcdstore"
	"banyan/versionstore/etcdstore/etcdtest"
	"banyan/versionstore/storetest"
)

// register is what a client sees of a pointer: the epoch, and who moved it there.
type register struct {
	epoch uint64
	by    string
}

// call is what a client asks for.
type call struct {
	key  string
	move *register // nil for a read
}

// answer is what a client is told.
type answer struct {
	unknown  bool
	conflict bool
	seen     register // of a read, and of a conflict
}

// registers says which histories of calls and answers are possible if each call happens at one moment
// between its begin and its end. A call of unknown outcome happens or does not.
var registers = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(call).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{register{}} },
	Step: func(state, input, output any) []any {
		now, c, told := state.(register), input.(call), output.(answer)
		fits := c.move != nil && c.move.epoch == now.epoch+1
		switch {
		case told.unknown && fits:
			return []any{now, *c.move}
		case told.unknown:
			return []any{now}
		case c.move != nil && !told.conflict && fits:
			return []any{*c.move}
		case c.move != nil && told.conflict && !fits && told.seen.epoch == now.epoch:
			return []any{now}
		case c.move == nil && told.seen == now:
			return []any{now}
		}
		return nil
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		c, told := input.(call), output.(answer)
		if c.move == nil {
			return fmt.Sprintf("read %v", told.seen)
		}
		return fmt.Sprintf("move to %v: %+v", *c.move, told)
	},
}

// historian notes what clients ask for and what they are told.
type historian struct {
	began time.Time
	calls atomic.Int64 // that have ended

	mu      sync.Mutex
	history []porcupine.Operation
}

func (h *historian) note(client int, c call, ask func() answer) answer {
	begin := time.Since(h.began).Nanoseconds()
	told := ask()
	finish := time.Since(h.began).Nanoseconds()
	if told.unknown {
		finish = math.MaxInt64
	}
	h.mu.Lock()
	h.history = append(h.history, porcupine.Operation{ClientId: client, Input: c, Call: begin, Output: told, Return: finish})
	h.mu.Unlock()
	h.calls.Add(1)
	return told
}

// Clients of three members read and move pointers while members are killed, the leading one among them.
// What they are told is what one store would have told them that does one thing after another.
func TestTruthPointersAreLinearizableWhileMembersAreKilled(t *testing.T) {
	const clients, callsOfEach, kills = 5, 60, 4
	c := etcdtest.Start(t, 3)
	setUp := open(t, c, "")
	configs := []string{"a", "b"}
	for _, config := range configs {
		m, raw, _ := storetest.NewSigner().Manifest(t, config, 1)
		if _, err := storetest.PutManifest(t.Context(), setUp, m, raw, "tester"); err != nil {
			t.Fatal(err)
		}
	}
	h := &historian{began: time.Now()}
	var group sync.WaitGroup
	for i := range clients {
		s, err := etcdstore.Open(t.Context(), etcdstore.Config{Endpoints: c.Endpoints(), Timeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		group.Go(func() {
			for n := range callsOfEach {
				readAndMove(t, h, s, i, n, configs[n%len(configs)])
			}
		})
	}
	for kill := range kills {
		until(t, func() bool { return h.calls.Load() >= int64((kill+1)*clients*callsOfEach/(kills+1)) })
		victim := max(c.Leader(), 0)
		c.Stop(victim)
		killed := h.calls.Load()
		until(t, func() bool { return h.calls.Load() >= killed+clients })
		c.Restart(victim)
	}
	group.Wait()
	moved, unknown := 0, 0
	for _, o := range h.history {
		told := o.Output.(answer)
		switch {
		case told.unknown:
			unknown++
		case o.Input.(call).move != nil && !told.conflict:
			moved++
		}
	}
	t.Logf("%d calls, %d moves, %d of unknown outcome", len(h.history), moved, unknown)
	if moved == 0 {
		t.Error("no pointer moved")
	}
	if !porcupine.CheckOperations(registers.ToModel(), h.history) {
		t.Error("the answers contradict each other")
	}
}

// readAndMove reads a pointer, and tries to move it further. A read that fails is no answer.
func readAndMove(t *testing.T, h *historian, s *etcdstore.Store, client, n int, config string) {
	state, failed := register{}, false
	begin := time.Since(h.began).Nanoseconds()
	p, err := s.Pointer(t.Context(), config, "eu")
	switch {
	case err == nil:
		state = register{p.Pointer.Epoch, p.By}
	case !errors.Is(err, versionstore.ErrNotFound):
		failed = true
	}
	if !failed {
		read := porcupine.Operation{
			ClientId: client,
			Input:    call{key: config},
			Call:     begin,
			Output:   answer{seen: state},
			Return:   time.Since(h.began).Nanoseconds(),
		}
		h.mu.Lock()
		h.history = append(h.history, read)
		h.mu.Unlock()
	}
	move := register{state.epoch + 1, fmt.Sprintf("client %d call %d", client, n)}
	h.note(client, call{config, &move}, func() answer {
		p, raw := storetest.NewSigner().Pointer(t, config, "eu", move.epoch, 1)
		pointers := []versionstore.SignedPointer{{Pointer: p, Raw: raw}}
		_, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Pointers: pointers, By: move.by})
		var conflict *versionstore.ConflictError
		switch {
		case err == nil:
			return answer{}
		case errors.As(err, &conflict):
			return answer{conflict: true, seen: register{epoch: conflict.Current}}
		case errors.Is(err, versionstore.ErrUnknown), errors.Is(err, versionstore.ErrUnavailable):
			return answer{unknown: true}
		}
		t.Errorf("unexpected: %v", err)
		return answer{unknown: true}
	})
}
