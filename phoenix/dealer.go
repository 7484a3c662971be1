package phoenix

import (
	"time"
)

// A dealer is all sockets of a connection, and says which of them a channel is on. It is as pure as a machine, and it is called by the
// loop alone.
type dealer struct {
	shared shared
	config machineConfig
	// sockets are in the order in which they were made. The first is there as long as the connection is.
	sockets []*socket
}

func newDealer(c machineConfig, seq uint64) *dealer {
	d := &dealer{config: c, shared: shared{seq: seq, opened: c.sessions}}
	d.add()
	return d
}

// add makes another socket.
func (d *dealer) add() *socket {
	s := &socket{m: newMachine(d.config, &d.shared)}
	d.sockets = append(d.sockets, s)
	return s
}

// of returns the machine of a topic: that of the socket which its channel is on, else the first.
func (d *dealer) of(topic string) *machine {
	for _, s := range d.sockets {
		if s.m.channels[topic] != nil {
			return s.m
		}
	}
	return d.sockets[0].m
}

// over reports whether the connection is.
func (d *dealer) over() bool {
	for _, s := range d.sockets {
		if s.m.phase != done {
			return false
		}
	}
	return true
}

// err is how the connection has ended; nil if we closed it.
func (d *dealer) err() *LinkError { return d.sockets[0].m.link.err }

// next returns the time of the earliest deadline of any socket, zero if there is none.
func (d *dealer) next() time.Time {
	var next time.Time
	for _, s := range d.sockets {
		if t := s.m.next(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

func (d *dealer) wake(now time.Time) {
	for _, s := range d.sockets {
		s.m.wake(now)
	}
}

func (d *dealer) close(now time.Time) {
	for _, s := range d.sockets {
		s.m.close(now)
	}
}

// suspended says at a time that the system has been suspended, for total in all.
func (d *dealer) suspended(now time.Time, total time.Duration) {
	for _, s := range d.sockets {
		s.m.suspended(now, total)
	}
}

func (d *dealer) reconfigure(now time.Time, to machineConfig) {
	d.config = to
	for _, s := range d.sockets {
		s.m.reconfigure(now, to)
	}
}

// status is that of the connection.
func (d *dealer) status() Status { return d.sockets[0].m.status() }

func (d *dealer) linkStatus() LinkStatus { return d.sockets[0].m.linkStatus() }

// join wants a topic from now on.
func (d *dealer) join(now time.Time, want Channel) error { return d.of(want.Topic).join(now, want) }
