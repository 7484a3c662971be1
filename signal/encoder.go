package signal

import (
	"time"

	"phx/phoenix"
)

// An Encoder writes the events of one connection in one format. It is not safe for concurrent use.
type Encoder struct {
	format Format

	ids       idSource
	clock     clock
	templates templateCache
}

// NewEncoder returns an encoder for the connection of that name, which has to satisfy [CheckName].
func NewEncoder(f Format, connection string) *Encoder {
	return &Encoder{
		format:    f,
		ids:       newIDSource(connection),
		clock:     newClock(),
		templates: templateCache{layout: layouts[f], connection: connection, limit: maxTemplates},
	}
}

// CacheAtMost bounds what the encoder remembers of topics and events, which the server chooses, to so many bytes; the default
// is 256 KiB. Who has many encoders wants less.
func (e *Encoder) CacheAtMost(bytes int) { e.templates.limit = bytes }

// Append appends ev as one line, which ends in its only '\n', and returns the extended buffer. A format that prints nothing
// for ev returns dst as it is. Neither ev nor its payload is kept.
func (e *Encoder) Append(dst []byte, ev *phoenix.Event) []byte {
	if e.format == FormatPayload {
		return appendPayloadLine(dst, ev)
	}
	return e.appendSignal(dst, ev)
}

// Dropped tells of signals that a full queue lost.
type Dropped struct {
	// Count is how many were lost.
	Count uint64
	// Policy is the queue's when_full: which ones are lost.
	Policy string
	// FirstSeq and LastSeq are the seq of the first and the last one lost. Signals between them may have been
	// delivered, so Count can be less than their distance.
	FirstSeq, LastSeq uint64
}

// AppendDropped appends the signal phoenix.signal.dropped for d as one line. at is when the loss is announced. A format
// that prints nothing for it returns dst as it is.
func (e *Encoder) AppendDropped(dst []byte, d Dropped, at time.Time) []byte {
	if e.format == FormatPayload {
		return dst
	}
	return e.appendDroppedSignal(dst, d, at)
}
