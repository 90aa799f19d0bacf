package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A deletion says what it would do, does it with --yes, and a rollback undoes it.
func TestTruthADeletionIsAnnouncedDoneAndUndone(t *testing.T) {
	c := newCLI(t, 2)
	c.expect(0, nil, "publish", "web/a", file(t, "a.json", `{"n": 1}`))
	c.expect(2, []string{"nothing was deleted", "version 1 from 1 host in eu", "--yes"}, "delete", "web/a")
	c.shows("web/a", `{"n": 1}`)
	c.expect(0, []string{"web/a in eu: deleted; version 1 ran", "deleted  1/1"}, "delete", "web/a", "--yes", "-m", "not used")
	for i := range c.Agents {
		_, err := os.Lstat(filepath.Join(c.AgentDir(i), "configs", "web"))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("agent %d has something left: %v", i, err)
		}
	}
	c.expect(0, []string{"nothing changed: it was deleted before"}, "delete", "web/a", "--yes")
	c.expect(2, []string{"runs in none of these regions"}, "delete", "web/a")
	c.expect(0, []string{"deleted"}, "status")
	c.expect(0, []string{"deleted in eu, us", "not used"}, "log", "web/a")
	c.expect(0, []string{"back from the deletion to version 1"}, "rollback", "web/a")
	c.shows("web/a", `{"n": 1}`)
	c.expect(1, []string{"no config"}, "delete", "nope", "--yes")
}
