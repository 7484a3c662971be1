package router

import (
	"context"
	"log/slog"
	"sync"

	"phx/signal"
)

// A Drain puts the records of a sink where they belong.
type Drain interface {
	// Run takes records from q until its input ends, and then returns nil; or until ctx ends or it cannot go on, and then returns
	// why. It releases each chunk it takes, the delivered records counted as such. What still waits when it returns is lost.
	Run(ctx context.Context, q *Queue) error
}

// A Reopener is a [Drain] that holds something open which can be replaced behind its back: a log file that was rotated.
type Reopener interface {
	// Reopen makes the drain open it again by name before its next record. It returns at once.
	Reopen()
}

// An Opener is a [Drain] that can find out early whether it will be able to work.
type Opener interface {
	// Open gets what the drain needs, before it runs. A drain that was not opened does it when it runs.
	Open() error
}

// SinkOptions are the settings of a [Sink].
type SinkOptions struct {
	// Name is what routes call the sink.
	Name string
	// Format is that of the records which the sink gets.
	Format signal.Format
	// Records and Bytes bound what waits for the drain. Records of 0 are no bound of their number.
	Records int
	Bytes   int64
	// Policy is DropOldest or DropNewest. The others would let the sink hold up or end what feeds it.
	Policy Policy
	// Drain is where the records go.
	Drain Drain
	// Logger is told of losses and of the drain's end. nil: nobody is.
	Logger *slog.Logger
}

// A Sink is an output of a [Router]: a queue of its own and a [Drain] that empties it, so that it holds up nobody but itself.
type Sink struct {
	options SinkOptions
	log     *slog.Logger
	queue   *Queue

	mu      sync.Mutex
	origins map[string]*Origin

	done chan struct{} // closed when the drain has ended
	err  error         // why it ended; valid when done is closed
}

// NewSink returns a sink that does nothing yet. It panics for a policy that a sink cannot have.
func NewSink(o SinkOptions) *Sink {
	if o.Policy != DropOldest && o.Policy != DropNewest {
		panic("router: the policy of a sink is drop-oldest or drop-newest, not " + o.Policy.String())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sink{options: o, log: o.Logger.With("sink", o.Name), done: make(chan struct{})}
	return s
}

// Name returns what routes call the sink.
func (s *Sink) Name() string { return s.options.Name }

// Format returns the format of the sink's records.
func (s *Sink) Format() signal.Format { return s.options.Format }

// origin returns what counts the records of a connection at this sink.
func (s *Sink) origin(connection string) *Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.origins[connection]
}

// start runs the drain on a goroutine of its own. The drain ends early when ctx does.
func (s *Sink) start(ctx context.Context) {}

// end says that nothing more comes. The drain delivers what waits, and then done is closed.
func (s *Sink) end() { s.queue.CloseInput(nil) }

// reopen passes on to the drain that a file may have been replaced.
func (s *Sink) reopen() {
	if r, ok := s.options.Drain.(Reopener); ok {
		r.Reopen()
	}
}
