package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var errNotDuration = errors.New("is not a duration")

// ParseDuration parses a duration in Go's syntax (1m30s, 250ms) or a bare number of seconds (10, 0.5). It is never
// negative.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(text, 64)
		// ParseFloat also takes hexadecimal numbers, underscores, infinities and words for them.
		if numErr != nil || strings.Trim(text, "0123456789.+-") != "" || math.Abs(seconds) >= math.MaxInt64/1e9 {
			return 0, errNotDuration
		}
		d = time.Duration(math.Round(seconds * float64(time.Second)))
	}
	if d < 0 {
		return 0, errors.New("is negative")
	}
	return d, nil
}

var errNotSize = errors.New("is not a size: bytes, or a number with KiB, MiB or GiB")

// ParseSize parses a number of bytes: 65536, 64KiB, 1MiB, 2GiB. It is at least 1.
func ParseSize(text string) (int64, error) {
	digits, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(text, unit); ok {
			digits, factor = strings.TrimRight(before, " "), int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/factor) {
		return 0, errNotSize
	}
	return int64(n) * factor, nil
}
