//go:build !unix

package serve

import (
	"errors"
	"io/fs"
)

// errLocked is never returned: there are no locks here, and two servers that start at once may both believe that they are alone.
var errLocked = errors.New("it is locked")

type fileLock struct{}

func lock(string) (*fileLock, error) { return &fileLock{}, nil }

func (*fileLock) release() {}

func ours(fs.FileInfo) bool { return true }

func restrictSocket(int) {}

func restrictFiles() (undo func()) { return func() {} }
