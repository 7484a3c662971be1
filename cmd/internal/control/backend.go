package control

import (
	"context"
	"encoding/json"
	"time"

	"phx/signal"
)

// A Backend does what the calls ask for. Its methods are called by many goroutines at once. ctx is that of the call: it ends when
// the caller has gone, when the time that the caller gave is up, and when the server shuts down.
//
// An error that is, or wraps, an [*Error] is answered as it is. Of any other the text is answered, with HTTP status 500, so it must hold
// no secret.
type Backend interface {
	// Connections returns every connection, in the order in which it was configured or added.
	Connections(ctx context.Context) ([]Connection, error)
	// Connection returns one; [UnknownConnection] if there is none of that name. So do all methods that take a name.
	Connection(ctx context.Context, name string) (Connection, error)
	// Await waits until the connection is in the state: [StateConnected], or [StateJoined]: connected and each of its wanted channels
	// joined. When ctx ends first, it returns ctx's error and the connection as it was last.
	Await(ctx context.Context, name, state string) (Connection, error)
	// Add takes one more connection and starts it: entry is its entry of a config file, as JSON, with its name. Paths in it that are
	// relative start at dir; empty: where serve was started.
	Add(ctx context.Context, entry []byte, dir string) (Connection, error)
	// Remove stops a connection and forgets it.
	Remove(ctx context.Context, name string) error
	// Start, Stop and Restart return the connection as it is afterwards. To start what runs, or to stop what does not, is no error.
	Start(ctx context.Context, name string) (Connection, error)
	Stop(ctx context.Context, name string) (Connection, error)
	Restart(ctx context.Context, name string) (Connection, error)
	// Join joins a topic and answers with the signal of its first answer, joined or join_error. params is a JSON object, or nil for those
	// that the configuration has for the topic, else none.
	Join(ctx context.Context, name, topic string, params json.RawMessage) (Answer, error)
	// Leave leaves a topic and answers with the signal left.
	Leave(ctx context.Context, name, topic string) (Answer, error)
	// Push pushes and answers with the signal that ended it: push.reply, push.timeout or push.error.
	Push(ctx context.Context, name string, p Push) (Answer, error)
	// Subscribe begins a stream of signals. A filter that does not compile is an [*Error].
	Subscribe(r SubscribeRequest) (Subscription, error)
	// Reload reads the configuration again, and returns when it has taken effect, or why it did not.
	Reload(ctx context.Context) error
}

// The states that [Backend.Await] waits for.
const (
	StateConnected = "connected"
	StateJoined    = "joined"
)

// A Connection is what there is to know about a connection.
type Connection struct {
	Name string `json:"name"`
	// Status is disconnected, connecting, connected or disconnecting.
	Status string `json:"status"`
	// URI has no query and no userinfo.
	URI string `json:"uri"`
	// Session counts successful connects; Attempt is the number of the current dial in a row of failures.
	Session int `json:"session"`
	Attempt int `json:"attempt"`
	// Since says since when Status is what it is.
	Since    time.Time `json:"since"`
	Required bool      `json:"required"`
	// Channels is never null in JSON.
	Channels []Channel `json:"channels"`
	// Counters is never null in JSON.
	Counters map[string]uint64 `json:"counters"`
	// Error says how the last run ended, if it ended by itself.
	Error string `json:"error,omitempty"`
}

// A Channel is one channel of a [Connection].
type Channel struct {
	Topic string `json:"topic"`
	State string `json:"state"`
	// JoinedAt is when it was joined last; zero, and not in JSON, if it is not joined.
	JoinedAt time.Time `json:"joined_at,omitzero"`
}

// A Push is one message to push.
type Push struct {
	Topic, Event string
	// Payload is a JSON text, unless Binary is not nil: then that is the payload.
	Payload json.RawMessage
	Binary  []byte
	// Timeout bounds the wait for the reply; zero: as long as the configuration of the connection says.
	Timeout time.Duration
	// NoReply waits for no reply. The answer is made by [NewRefAnswer].
	NoReply bool
}

// An Answer is a signal that answers a call.
type Answer struct {
	// HTTPStatus is 200 for the signals joined, left and push.reply, whatever the status in the reply; 504 for push.timeout and for a
	// join_error by timeout; 502 for push.error and other join_errors; 202 for the ref of a push that waits for no reply.
	HTTPStatus int
	// Line is the signal in the default format; a line break at its end is allowed.
	Line []byte
}

// NewRefAnswer returns the answer to a push that waits for no reply.
func NewRefAnswer(ref string) Answer {
	line, _ := json.Marshal(struct { // strings always marshal
		Ref string `json:"ref"`
	}{ref})
	return Answer{HTTPStatus: 202, Line: line}
}

// A SubscribeRequest says which signals somebody wants, and how they are written. What is empty is not asked for.
type SubscribeRequest struct {
	// Match is a pattern for the type, Subscribe one for a bus topic.
	Match, Subscribe string
	// Topic and Event are globs for the raw names, any of which is enough.
	Topic, Event []string
	// Where is a jq expression on the signal in the default format.
	Where  string
	Format signal.Format
}

// A Subscription is a stream of signals. One goroutine takes from it.
type Subscription interface {
	// Next waits for at least one signal, and returns as many as there are, within reason: whole lines, valid until the next call of Next or
	// Close. What the subscriber was too slow for is lost, and announced in the stream. The error is that of ctx, or says that the stream has ended.
	Next(ctx context.Context) ([]byte, error)
	// Close ends the subscription. It is called once, after the last Next has returned.
	Close()
}
