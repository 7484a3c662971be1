//go:build !unix

package death

import "syscall"

func raise(syscall.Signal) {}
