package agent

import (
	"os"
	"path/filepath"
	"strings"

	"banyan/record"
)

// passedFile, beside a version, holds the hash of the check command that it has passed.
const passedFile = "passed"

func commandSum(command []string) string {
	return record.Sum([]byte(strings.Join(command, "\x00"))).String()
}

// passed tells whether a version has passed a check here before: it is taken back at once.
func (t *tree) passed(v record.VersionKey, command []string) bool {
	raw, err := os.ReadFile(filepath.Join(t.versionPath(v), passedFile))
	return err == nil && string(raw) == commandSum(command)
}

// pass notes that a version has passed a check. If that is lost, it is checked again.
func (t *tree) pass(v record.VersionKey, command []string) error {
	return os.WriteFile(filepath.Join(t.versionPath(v), passedFile), []byte(commandSum(command)), 0o644)
}
