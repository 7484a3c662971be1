//go:build !linux

package boottime

import "time"

func now() (time.Duration, bool) { return 0, false }

func suspended() (time.Duration, bool) { return 0, false }
