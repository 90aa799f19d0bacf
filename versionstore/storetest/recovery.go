package storetest

import (
	"errors"
	"slices"

	"banyan/record"
	"banyan/versionstore"
)

// recoveries tests that what hosts hold of a lost history is taken, and does not overwrite what the store
// has.
func recoveries(s *suite) {
	recovered := func(r versionstore.Recovery) error {
		_, err := s.Commit(s.ctx, versionstore.Transaction{Term: 1, Recovered: r, By: "import"})
		return err
	}
	manifest := func(n uint64, message string) versionstore.SignedManifest {
		m, _, _ := s.Signer.Manifest(s, "a", n)
		m.Message = message
		raw, err := record.SignManifest(m, s.Signer.key)
		if err != nil {
			s.Fatal(err)
		}
		return versionstore.SignedManifest{Manifest: m, Raw: raw, By: "import"}
	}
	pointer := func(epoch, version uint64) []versionstore.SignedPointer {
		p, raw := s.Signer.Pointer(s, "a", "eu", epoch, version)
		return []versionstore.SignedPointer{{Pointer: p, Raw: raw}}
	}
	s.put("a", 1)
	if err := recovered(versionstore.Recovery{Pointers: pointer(7, 5)}); !errors.Is(err, versionstore.ErrNotFound) {
		s.Errorf("a pointer to a version that the store lacks: %v", err)
	}
	five := versionstore.Recovery{Versions: []versionstore.SignedManifest{manifest(5, "")}, Pointers: pointer(7, 5)}
	if err := recovered(five); err != nil {
		s.Fatal(err)
	}
	if err := recovered(versionstore.Recovery{Versions: five.Versions}); err != nil {
		s.Errorf("a version that is stored already: %v", err)
	}
	if err := recovered(versionstore.Recovery{Versions: []versionstore.SignedManifest{manifest(3, "")}}); err != nil {
		s.Errorf("an older version: %v", err)
	}
	var conflict *versionstore.ConflictError
	other := versionstore.Recovery{Versions: []versionstore.SignedManifest{manifest(5, "other")}}
	if err := recovered(other); !errors.As(err, &conflict) || conflict.What != "version" || conflict.By != "import" {
		s.Errorf("other content for a stored version: %v", err)
	}
	for _, epoch := range []uint64{6, 7} {
		err := recovered(versionstore.Recovery{Pointers: pointer(epoch, 5)})
		if !errors.As(err, &conflict) || conflict.Current != 7 {
			s.Errorf("epoch %d over epoch 7: %v", epoch, err)
		}
	}
	if got := s.versions("a"); !slices.Equal(got, []uint64{5, 3, 1}) {
		s.Errorf("the versions are %v", got)
	}
	s.put("a", 6)
	s.move("a", "eu", 8, 6)
}
