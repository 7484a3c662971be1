//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package outpipe

import "os"

// waitHangup waits until the other end of wake is closed.
func waitHangup(_, wake *os.File) bool {
	wake.Read(make([]byte, 1))
	return false
}
