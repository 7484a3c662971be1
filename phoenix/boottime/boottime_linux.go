package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

func now() (time.Duration, bool) {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0, false
	}
	return time.Duration(boot.Nano()), true
}

func suspended() (time.Duration, bool) {
	var before, boot, after unix.Timespec
	for range 10 {
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
			return 0, false
		}
		if after.Nano()-before.Nano() < int64(time.Millisecond) { // else the process was stopped in between
			return time.Duration(boot.Nano() - before.Nano()), true
		}
	}
	return 0, false
}
