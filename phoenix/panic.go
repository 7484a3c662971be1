package phoenix

import (
	"fmt"
)

// A PanicError is what Serve returns when something that runs for the connection, a callback of Options above all, has
// panicked. It ends that connection and nothing else.
type PanicError struct {
	// Value is what panic was called with.
	Value any
	// Stack is that of the goroutine that panicked.
	Stack []byte
}

// Error says in one line what panicked.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panicked: %v", e.Value)
}
