package router

import "fmt"

// A Policy says what a full [Queue] does with the next record: the option --when-full and the key when_full.
type Policy uint8

const (
	// Block makes the producer wait for room, so that nothing is lost.
	Block Policy = iota
	// DropNewest loses the records that come while the queue is full.
	DropNewest
	// DropOldest loses the records that have waited longest, to make room for the newest.
	DropOldest
	// Fail loses the first record that does not fit and all that follow, and tells the producer: [ErrFull].
	Fail
)

var policyNames = [...]string{Block: "block", DropNewest: "drop-newest", DropOldest: "drop-oldest", Fail: "fail"}

// String returns the name that users write.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// ParsePolicy returns the policy with the given name; the error lists the names there are.
func ParsePolicy(name string) (Policy, error) {
	for p, n := range policyNames {
		if n == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("%q is none of block, drop-newest, drop-oldest, fail", name)
}
