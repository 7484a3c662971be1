//go:build !unix

package serve

import (
	"errors"
	"io/fs"
	"time"
)

// errLocked is never returned: there are no locks here, and two servers that start at once may both believe that they are alone.
var errLocked = errors.New("it is locked")

type fileLock struct{}

func lock(string) (*fileLock, error) { return &fileLock{}, nil }

func (*fileLock) release() {}

func (*fileLock) abandon() {}

func (*fileLock) there() bool { return true }

func lockedBy(string) (pid int, ok bool) { return 0, false }

func ours(fs.FileInfo) bool { return true }

func restrictSocket(int) {}

func restrictFiles() (undo func()) { return func() {} }

// processStart stands in for the boot of the machine: there is no systemd that would compare.
var processStart = time.Now()

func monotonic() time.Duration { return time.Since(processStart) }

func descriptorLimit() (limit uint64, ok bool) { return 0, false }
