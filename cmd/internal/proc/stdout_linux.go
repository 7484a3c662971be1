package proc

// stdoutClosed is set by the entry of the process, where there is one of ours.
var stdoutClosed uint32

// StdoutClosed reports whether the process was started with a closed standard output, as by >&- in a shell. The runtime opens /dev/null in
// its place, and writes to that succeed. It is known on amd64 only; elsewhere the answer is no.
func StdoutClosed() bool { return stdoutClosed != 0 }
