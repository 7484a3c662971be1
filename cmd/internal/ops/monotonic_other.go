//go:build !linux

package ops

import "time"

// started stands in for the boot of the machine: there is no systemd that would compare.
var started = time.Now()

func monotonic() time.Duration { return time.Since(started) }
