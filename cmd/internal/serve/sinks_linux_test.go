package serve

import (
	"os"
	"path/filepath"
	"testing"
)

// isOpen reports whether this process has a file open.
func isOpen(t *testing.T, path string) bool {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && target == path {
			return true
		}
	}
	return false
}

// A file that was opened for a reload is closed when a later sink makes it fail.
func TestFailedReloadLeavesNoFileOpen(t *testing.T) {
	s := started(t, one)
	s.await("a", StateJoined)
	s.write(one + `
sinks:
  good: {file: {path: good}}
  bad: {file: {path: nowhere/bad}}
routes:
  - {to: [good, bad]}
`)
	if err := s.Reload(t.Context()); err == nil {
		t.Error("the reload succeeded")
	}
	if good := filepath.Join(s.dir, "good"); s.file("good") != "" || isOpen(t, good) {
		t.Errorf("%s is still open, or has something in it", good)
	}
}
