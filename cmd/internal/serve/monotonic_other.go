//go:build !linux

package serve

import "time"

// processStart stands in for the boot of the machine: there is no systemd that would compare.
var processStart = time.Now()

func monotonic() time.Duration { return time.Since(processStart) }
