package phoenix

import (
	"cmp"
	"log/slog"
	"slices"
	"time"
)

// A dealer is all sockets of a connection, and deals its channels to them: a server takes a bounded number of channels on one socket
// (PROTOCOL.md, section 4). It is as pure as a machine, and it is called by the loop alone.
//
//   - A channel goes to a socket that has room. If none has, there is another socket.
//   - Sockets begin to dial one after the other, each once the one before it has been up.
//   - A server that has no room before the limit is reached says what the limit is. What is not joined then moves.
//   - A further socket without channels is closed after a while. The first is there as long as the connection is.
//   - The connection is over for good when one of its sockets is.
type dealer struct {
	shared shared
	config machineConfig
	// sockets are in the order in which they were made.
	sockets []*socket
	// limit is how many channels a socket takes, as far as is known.
	limit int
	// closing says that the sockets have been closed, for failed if that is not nil.
	closing bool
	failed  *LinkError
}

// keepEmpty is how long a further socket stays open without channels: topics may come and go.
const keepEmpty = 30 * time.Second

func newDealer(c machineConfig, limit int, seq uint64) *dealer {
	d := &dealer{config: c, limit: limit, shared: shared{seq: seq, opened: c.sessions}}
	d.add()
	return d
}

// add makes another socket.
func (d *dealer) add() *socket {
	d.shared.sockets++
	s := &socket{m: newMachine(d.config, &d.shared)}
	s.m.number = d.shared.sockets
	if len(d.sockets) > 0 {
		first := d.sockets[0].m
		s.m.slept = first.slept
		s.m.link.ready = first.link.ready // what is refused after success is an outage, on another socket, too (rule 27)
	}
	d.sockets = append(d.sockets, s)
	return s
}

// of returns the machine of a topic: that of the socket which its channel is on, else the first.
func (d *dealer) of(topic string) *machine {
	if m := d.holder(topic); m != nil {
		return m
	}
	return d.sockets[0].m
}

func (d *dealer) holder(topic string) *machine {
	for _, s := range d.sockets {
		if s.m.channels[topic] != nil {
			return s.m
		}
	}
	return nil
}

// join wants a topic from now on.
func (d *dealer) join(now time.Time, want Channel) error {
	m := d.holder(want.Topic)
	switch {
	case m == nil && d.closing:
		return ErrClosed
	case m == nil:
		m = d.room().m
	}
	return m.join(now, want)
}

// room returns a socket for one more channel: one that is up, if there is such a one with room.
func (d *dealer) room() *socket {
	var later *socket
	for _, s := range d.sockets {
		switch {
		case s.retiring || s.m.phase == done || len(s.m.channels) >= d.limit:
		case s.m.phase == up:
			return s
		case later == nil:
			later = s
		}
	}
	if later == nil {
		later = d.add()
	}
	return later
}

// settle does what follows from the last inputs for the connection as a whole. It is called after each, and reports whether it has given
// any machine an input.
func (d *dealer) settle(now time.Time) bool {
	moved := d.learn(now)
	for _, c := range moved {
		d.room().m.adopt(now, c)
	}
	return d.endTogether(now) || d.openNext(now) || d.retire(now) || len(moved) > 0
}

// idle reports whether there is nothing to settle, as is the case on a connection with one socket and room on it.
func (d *dealer) idle() bool { return len(d.sockets) == 1 && len(d.shared.refused) == 0 }

// A refusedChannel is one that the server of its socket has refused, because it had held channels already.
type refusedChannel struct {
	channel *channel
	held    int
}

// learn takes the channels that were refused because a socket had too many, and returns what has to move because of that.
func (d *dealer) learn(now time.Time) []*channel {
	if len(d.shared.refused) == 0 {
		return nil
	}
	var moved []*channel
	for _, r := range d.shared.refused {
		if r.held < d.limit {
			d.limit = r.held
			d.sockets[0].m.note(slog.LevelInfo, "the server takes no more channels on one socket: the others are joined on further ones", "max_channels_per_socket", d.limit)
		}
		moved = append(moved, r.channel)
	}
	d.shared.refused = nil
	for _, s := range d.sockets {
		moved = append(moved, s.m.releaseBeyond(now, d.limit)...)
	}
	return moved
}

// endTogether closes all sockets once one has ended for good, and forgets those that were closed because they were empty.
func (d *dealer) endTogether(now time.Time) bool {
	for i := len(d.sockets) - 1; i >= 0; i-- {
		switch s := d.sockets[i]; {
		case s.m.phase != done || d.closing:
		case s.retiring:
			d.sockets = slices.Delete(d.sockets, i, i+1)
		default:
			d.failed = s.m.link.err
			d.close(now)
			return true
		}
	}
	return false
}

// openNext starts the first dial of the next socket, once the one before it has been up.
func (d *dealer) openNext(now time.Time) bool {
	for i := 1; i < len(d.sockets) && !d.closing; i++ {
		if s := d.sockets[i]; s.m.phase == idle && !d.sockets[i-1].m.link.upAt.IsZero() {
			s.m.start(now)
			return true
		}
	}
	return false
}

// retire closes the sockets that have been empty for long.
func (d *dealer) retire(now time.Time) (retired bool) {
	for _, s := range d.sockets[1:] {
		switch {
		case s.retiring || d.closing:
		case len(s.m.channels) > 0:
			s.emptyUntil = time.Time{}
		case s.emptyUntil.IsZero():
			s.emptyUntil = now.Add(keepEmpty)
		case !now.Before(s.emptyUntil):
			s.retiring, retired = true, true
			s.m.close(now)
		}
	}
	return retired
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
func (d *dealer) err() *LinkError {
	if d.failed != nil {
		return d.failed
	}
	return d.sockets[0].m.link.err
}

// next returns the time of the earliest deadline, zero if there is none.
func (d *dealer) next() time.Time {
	var next time.Time
	for _, s := range d.sockets {
		next = earlier(next, s.m.next())
		if !s.retiring && !d.closing {
			next = earlier(next, s.emptyUntil)
		}
	}
	return next
}

// earlier returns the earlier of two times that are not zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (d *dealer) wake(now time.Time) {
	for _, s := range d.sockets {
		s.m.wake(now)
	}
}

func (d *dealer) close(now time.Time) {
	d.closing = true
	for _, s := range d.sockets {
		s.m.close(now)
	}
}

func (d *dealer) revoke(now time.Time) {
	d.closing = true
	for _, s := range d.sockets {
		s.m.revoke(now)
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

// status is that of the connection: what its worst socket does, and the channels of all.
func (d *dealer) status() Status {
	all := Status{Link: d.linkStatus(), Session: d.shared.opened}
	for _, s := range d.sockets {
		one := s.m.status()
		all.Retries = max(all.Retries, one.Retries)
		all.Transport = cmp.Or(all.Transport, one.Transport)
		if len(d.sockets) > 1 {
			all.Sockets = append(all.Sockets, SocketStatus{
				Number: s.m.number, Link: s.linkStatus(), Transport: one.Transport, Session: one.Session, Channels: len(one.Channels),
			})
			for i := range one.Channels {
				one.Channels[i].Socket = s.m.number
			}
		}
		all.Channels = append(all.Channels, one.Channels...)
	}
	slices.SortStableFunc(all.Channels, func(a, b ChannelStatus) int { return cmp.Compare(a.wanted, b.wanted) })
	return all
}

// linkStatus is that of the worst socket, except that one which has ended, or is closed because it is empty, is not looked at.
func (d *dealer) linkStatus() LinkStatus {
	worst := StatusDisconnected
	for _, s := range d.sockets {
		if s.retiring || s.m.phase == done {
			continue
		}
		if link := s.linkStatus(); worst == StatusDisconnected || badness(link) > badness(worst) {
			worst = link
		}
	}
	return worst
}

// badness orders what sockets do.
func badness(link LinkStatus) int {
	return slices.Index([]LinkStatus{StatusConnected, StatusDisconnecting, StatusConnecting}, link)
}

// linkStatus is that of a socket. A further one that waits for its first dial is on its way.
func (s *socket) linkStatus() LinkStatus {
	if s.m.phase == idle && s.m.number > 1 {
		return StatusConnecting
	}
	return s.m.linkStatus()
}
