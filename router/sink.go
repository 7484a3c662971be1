package router

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"phx/signal"
)

// A Drain puts the records of a sink where they belong.
type Drain interface {
	// Run takes records from q until its input ends, and then returns nil; or until ctx ends or it
	// cannot go on, and then returns why. It releases each chunk it takes, the delivered records
	// counted as such. What still waits when it returns is lost.
	Run(ctx context.Context, q *Queue) error
}

// A Reopener is a [Drain] that holds something open which can be replaced by another process, such
// as a log file that is rotated.
type Reopener interface {
	// Reopen makes the drain open it again by name before its next record. It returns at once.
	Reopen()
}

// An Opener is a [Drain] that can find out early whether it will be able to work.
type Opener interface {
	// Open gets what the drain needs, before it runs. A drain that was not opened does it when it
	// runs.
	Open() error
}

// SinkOptions are the settings of a [Sink].
type SinkOptions struct {
	// Name is what routes call the sink.
	Name string
	// Kind says what it is, for [SinkStats].
	Kind string
	// Format is that of the records which the sink gets.
	Format signal.Format
	// Records and Bytes bound what waits for the drain. Records of 0 are no bound of their number.
	Records int
	Bytes   int64
	// Policy is DropOldest or DropNewest. The others would let the sink hold up or end its
	// producers.
	Policy Policy
	// OnLoss is the name of a sink that is told of losses, too, as far as it has room for that; empty:
	// none. It may lead to no cycle.
	OnLoss string
	// Drain is where the records go.
	Drain Drain
	// Logger logs losses and the end of the drain. It may be nil.
	Logger *slog.Logger
}

// A Sink is an output of a [Router]: a queue of its own and a [Drain] that empties it, so that a
// slow sink delays nothing else.
type Sink struct {
	options SinkOptions
	log     *slog.Logger
	queue   *Queue
	losses  *lossReporter

	mu      sync.Mutex
	origins map[string]*Origin

	done chan struct{} // closed when the drain has ended
	err  error         // why it ended; nil: everything was delivered. Valid when done is closed.
}

// NewSink returns a sink that does nothing yet. It panics for a policy that a sink cannot have.
func NewSink(o SinkOptions) *Sink {
	if o.Policy != DropOldest && o.Policy != DropNewest {
		panic("router: the policy of a sink is drop-oldest or drop-newest, not " + o.Policy.String())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sink{
		options: o,
		log:     o.Logger.With("sink", o.Name),
		origins: make(map[string]*Origin),
		done:    make(chan struct{}),
	}
	s.queue = NewQueue(o.Bytes, o.Policy, s.announce)
	s.queue.LimitRecords(o.Records)
	s.losses = newLossReporter(s)
	s.queue.OnLoss(s.losses.schedule)
	if spool, ok := o.Drain.(*SpoolDrain); ok {
		spool.attach(s)
	}
	return s
}

// orDiscard returns log, or one that drops everything.
func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Name returns what routes call the sink.
func (s *Sink) Name() string { return s.options.Name }

// Format returns the format of the sink's records.
func (s *Sink) Format() signal.Format { return s.options.Format }

// input is the queue to put records in.
func (s *Sink) input() *Queue { return s.queue }

// origin returns what counts the records of a connection at this sink: the same one until the
// connection is forgotten.
func (s *Sink) origin(connection string) *Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origins[connection]
	if o == nil {
		o = NewOrigin(connection)
		s.origins[connection] = o
	}
	return o
}

// counters returns the origins there are, in the order of their connections' names.
func (s *Sink) counters() []*Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.origins), func(a, b *Origin) int {
		return strings.Compare(a.Connection, b.Connection)
	})
}

// forget drops the counters of a connection that is gone for good.
func (s *Sink) forget(connection string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.origins, connection)
}

// announce appends the signal of a loss for the queue, several times perhaps if the loss grows
// meanwhile.
func (s *Sink) announce(dst []byte, l Loss) []byte {
	return appendDropped(dst, s.options.Format, s.options.Policy, l, "")
}

// start runs the drain on a goroutine of its own, until the input has ended and everything is
// delivered, or until ctx ends, which the drain obeys soon. Then done is closed.
func (s *Sink) start(ctx context.Context) {
	go func() {
		defer close(s.done)
		s.err = s.drain(ctx)
		waiting, _ := s.queue.Len()
		if s.err != nil {
			s.queue.Abort(s.err)
		}
		s.losses.flushLast()
		if s.err != nil {
			s.log.Error("the sink has ended before it delivered everything; what waits or comes for it is lost",
				"error", s.err, "waiting", waiting)
		}
	}()
}

// drain runs the drain. A panic in it is an error of this sink alone.
func (s *Sink) drain(ctx context.Context) (err error) {
	defer func() {
		if value := recover(); value != nil {
			s.log.Error("a bug: the sink panicked", "value", value, "stack", string(debug.Stack()))
			err = fmt.Errorf("the sink panicked: %v", value)
		}
	}()
	return s.options.Drain.Run(ctx, s.queue)
}

// end ends the input.
func (s *Sink) end() { s.queue.CloseInput(nil) }

// hasEnded reports whether the drain has ended.
func (s *Sink) hasEnded() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// reopen makes a drain that is a Reopener reopen.
func (s *Sink) reopen() {
	if r, ok := s.options.Drain.(Reopener); ok {
		r.Reopen()
	}
}

// Discard returns a [Drain] that counts each record as delivered and puts it nowhere.
func Discard() Drain { return discard{} }

type discard struct{}

func (discard) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		q.Release(c)
	}
}

// WriterDrain returns a [Drain] that writes records to w, with one call of Write for each chunk. A
// failed write ends it.
func WriterDrain(w io.Writer) Drain { return writerDrain{w} }

type writerDrain struct{ w io.Writer }

func (d writerDrain) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = write(d.w, q, c)
		}
		if err != nil {
			return err
		}
	}
}

// write writes a chunk and gives it back. Of a failed write, what is there as a whole is
// delivered.
func write(w io.Writer, q *Queue, c *Chunk) error {
	n, err := w.Write(c.Bytes())
	if err == nil && n < len(c.Bytes()) {
		err = io.ErrShortWrite
	}
	if err != nil {
		q.attempted(attemptFailed, err)
		q.ReleaseFirst(c, c.recordsIn(n))
		return fmt.Errorf("cannot write the output: %w", err)
	}
	q.attempted(attemptWritten, nil)
	q.Release(c)
	return nil
}

// What comes of an attempt to write.
const attemptWritten, attemptFailed = "written", "failed"

// wholeLines returns how many bytes at the beginning of p are whole lines.
func wholeLines(p []byte) int { return bytes.LastIndexByte(p, '\n') + 1 }
