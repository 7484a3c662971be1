package phoenix

// A usage tells when a slice that is used again and again has become too large for what it is used for: a burst that is over
// must not take memory for ever.
type usage struct{ little uint8 }

// A slice is too large when so many uses in a row took an eighth of it at most: now and then is no reason to make it anew.
const maxLittleUses = 16

// outgrown is asked after each use of a slice, and reports whether to drop it. One of up to enough elements is kept.
func (u *usage) outgrown(used, capacity, enough int) bool {
	switch {
	case capacity <= enough: // says nothing about the others that are used in turn with it
		return false
	case used > capacity/8:
		u.little = 0
		return false
	}
	u.little++
	if u.little < maxLittleUses {
		return false
	}
	u.little = 0
	return true
}
