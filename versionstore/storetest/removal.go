package storetest

import (
	"errors"
	"slices"

	"banyan/record"
	"banyan/versionstore"
)

// removals tests that versions go unless they are in use, and that a name without versions is free.
func removals(s *suite) {
	remove := func(versions ...uint64) error {
		r := versionstore.Removal{Config: "a", Versions: versions}
		_, err := s.Commit(s.ctx, versionstore.Transaction{Term: 1, Removals: []versionstore.Removal{r}})
		return err
	}
	for n := uint64(1); n <= 4; n++ {
		s.put("a", n)
	}
	s.move("a", "eu", 1, 2)
	before, err := s.Revision(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	for _, bad := range [][]uint64{{2}, {1, 2}, {4}, {3, 4}} {
		if err := remove(bad...); !errors.Is(err, versionstore.ErrInUse) {
			s.Errorf("removal of %v: %v", bad, err)
		}
	}
	if err := remove(9); !errors.Is(err, versionstore.ErrNotFound) {
		s.Errorf("removal of a version that there is not: %v", err)
	}
	if err := remove(make([]uint64, versionstore.MaxRemoved+1)...); !errors.Is(err, record.ErrTooLarge) {
		s.Errorf("removal of too many: %v", err)
	}
	if got := s.versions("a"); !slices.Equal(got, []uint64{4, 3, 2, 1}) {
		s.Errorf("refused removals left %v", got)
	}
	if err := remove(1, 3); err != nil {
		s.Fatal(err)
	}
	if got := s.versions("a"); !slices.Equal(got, []uint64{4, 2}) {
		s.Errorf("the versions are %v", got)
	}
	if _, err := s.Version(s.ctx, "a", 3); !errors.Is(err, versionstore.ErrNotFound) {
		s.Errorf("a removed version: %v", err)
	}
	if after, err := s.Revision(s.ctx); err != nil || after <= before {
		s.Errorf("revision %d after %d, %v", after, before, err)
	}
	s.put("a", 5)

	for n := uint64(1); n <= 2; n++ {
		s.put("free", n)
	}
	r := versionstore.Removal{Config: "free", Versions: []uint64{1, 2}}
	if _, err := s.Commit(s.ctx, versionstore.Transaction{Term: 1, Removals: []versionstore.Removal{r}}); err != nil {
		s.Fatal(err)
	}
	if names, err := s.Configs(s.ctx, "", "", 0); err != nil || !slices.Equal(names, []string{"a"}) {
		s.Errorf("configs %v, %v", names, err)
	}
	s.put("free", 1)
}

// versions returns the numbers of the versions of a config, newest first.
func (s *suite) versions(config string) (numbers []uint64) {
	s.Helper()
	history, err := s.History(s.ctx, config, 0, 0)
	if err != nil {
		s.Fatal(err)
	}
	for _, v := range history {
		numbers = append(numbers, v.Manifest.Version)
	}
	return numbers
}
