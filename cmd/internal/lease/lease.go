package lease

import (
	"context"
	"errors"
)

// What a [Store] keeps is a bucket with a revision for each write, which grows for ever: of each instance a session, which it writes
// again as long as it lives, and of each connection a run, which names the session that runs it. A run is written when its owner
// changes, by compare-and-set, and the revision of that write is the epoch of the connection. A connection is free when the session
// of its run is gone.

// A Session is what an instance says of itself.
type Session struct {
	// ID is drawn anew for each session: no two are the same.
	ID string `json:"id"`
	// Instance is what the process is called. It stays the same over sessions.
	Instance string `json:"instance"`
	// Config is equal for equal configurations, and tells nothing of them.
	Config string `json:"config"`
	// TTL is for how long it counts after a renewal, in milliseconds; 0: that is not said.
	TTL int64 `json:"ttl,omitempty"`
	// Number counts the renewals of the session.
	Number uint64 `json:"number"`
	// At is when it says this, in milliseconds of the store's clock, and never later than the truth; 0: it does not know.
	At int64 `json:"at,omitempty"`
	// Seen is up to which revision it knew all runs.
	Seen uint64 `json:"seen,omitempty"`
	// Down are the connections that it has, as far as it knew, and that are not up.
	Down map[string]Down `json:"down,omitempty"`
}

// Down is a connection that is not up: not connected, or with a channel that is not joined.
type Down struct {
	// Status is that of the connection in the control API.
	Status string `json:"status"`
	// Since is since when it is not up, in milliseconds of the store's clock, and never later than the truth; 0: since its run was claimed.
	Since int64 `json:"since,omitempty"`
}

// A Run says who runs a connection.
type Run struct {
	// Session is the ID of the owner's session, and Instance what that is called; empty: nobody's.
	Session  string `json:"session"`
	Instance string `json:"instance"`
	// Since is from when on messages may have been missed when the run was claimed or given back, in milliseconds of the store's
	// clock; 0: nobody ran the connection before.
	Since int64 `json:"since,omitempty"`
}

// An Entry is the place of a value in a [Store].
type Entry struct {
	// Revision is that of the write of the value.
	Revision uint64
	// Created is when that was, in milliseconds of the store's clock.
	Created int64
}

// A SessionEntry is a session in a [Store].
type SessionEntry struct {
	Session
	Entry
}

// A RunEntry is a run in a [Store].
type RunEntry struct {
	Run
	Entry
}

// A Snapshot is a store as it was at one moment: all writes up to a revision, and none after that.
type Snapshot struct {
	// Revision is the highest of all that the snapshot shows.
	Revision uint64
	// Sessions are those that are there, by ID; Runs all runs, by the name of the connection.
	Sessions map[string]SessionEntry
	Runs     map[string]RunEntry
}

// ErrConflict is the error of a write that was not made, because the key has another revision than the one that was given. Any other
// error of a write leaves open whether it was made, or will be.
var ErrConflict = errors.New("the key has another revision")

// A Store keeps sessions and runs for all instances. Its methods are called from several goroutines at once.
type Store interface {
	// Begin writes a new session, which the store removes when it was not renewed for the time to live of its sessions.
	Begin(ctx context.Context, s Session) (revision uint64, err error)
	// Renew writes a session again, if its key has that revision. With over, it removes the session.
	Renew(ctx context.Context, s Session, revision uint64, over bool) (uint64, error)
	// Claim writes the run of a connection, if its key has that revision; 0: if there is none.
	Claim(ctx context.Context, name string, r Run, revision uint64) (uint64, error)
	// Watch returns a snapshot, and calls changed soon after something else than a renewal was written: mostly, and perhaps late, and
	// no more after the next call of Watch. The snapshot may be older than what was written or seen before.
	Watch(ctx context.Context, changed func()) (Snapshot, error)
}
