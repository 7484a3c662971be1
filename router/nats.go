package router

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"phx/phoenix"
	"phx/signal"
)

// A NATSDrain is a [Drain] that publishes records to NATS JetStream and counts them as delivered
// once they are acknowledged. Many are under way at once, as the window says. The id of a message
// is that of its signal, by which JetStream leaves out what it has already: what was not
// acknowledged is published again under the same id, with a backoff of 100 ms to 30 s, for as long
// as the queue has room for it. Only a record that is too large is lost.
//
// The records of a connection are in the stream in their order, unless the stream refuses one in
// the middle of a window and takes those behind it. A window of 1 excludes that.
type NATSDrain struct {
	o   NATSOptions
	log *slog.Logger

	// What follows belongs to the goroutine that runs the drain.

	backoff  phoenix.Backoff
	failures int
	// outage lasts from the first failure to the next acknowledgement, and logs each kind of failure
	// once.
	outage outage
	logged [len(natsFailureNames)]bool
	lost   sampler
	// again are the batches that were not acknowledged: they are published with the same lines, so
	// with the same ids.
	again map[string]int
	// batchSize bounds a message of several lines in bytes: maxBatch, or less if the server has
	// refused such a one.
	batchSize int
}

// NATSOptions are the settings of a [NATSDrain].
type NATSOptions struct {
	// Publisher publishes.
	Publisher NATSPublisher
	// ByType makes the subject of a message the type of its signal; otherwise it is the bus topic,
	// the one with the channel if there is one.
	ByType bool
	// Window is how many messages are published before the first of them is acknowledged.
	Window int
	// Lines makes a message of many lines, up to 64 KiB. Its subject is the bus topic of the
	// connection, and its id is that of the first line with the number of lines.
	Lines bool
	// CloudEvents says that records are CloudEvents, and Binary that these are published in the
	// binary content mode of the NATS binding: attributes as headers, data as the message.
	CloudEvents, Binary bool
	// Logger logs failures. It should have the name of the sink among its attributes. It may be
	// nil.
	Logger *slog.Logger
}

// A NATSPublisher publishes to JetStream.
type NATSPublisher interface {
	// Publish publishes messages in their order, and calls acked for each that is acknowledged, in
	// their order. It returns nil when all are, or else why the next one is not: a [*NATSFailure] or
	// the cause of ctx's end. It keeps nothing of the messages.
	Publish(ctx context.Context, messages []NATSMessage, acked func()) error
	// Ready waits until there is a connection to a server.
	Ready(ctx context.Context) error
}

// A NATSMessage is a message to publish.
type NATSMessage struct {
	Subject string
	// ID is what JetStream knows a message by that it has already.
	ID string
	// Header are names, as they are spelled, and values.
	Header [][2]string
	Data   []byte
}

// A NATSFailure says why a message was not acknowledged.
type NATSFailure struct {
	Kind NATSFailureKind
	Err  error
}

func (f *NATSFailure) Error() string { return f.Err.Error() }
func (f *NATSFailure) Unwrap() error { return f.Err }

// A NATSFailureKind is the kind of a [NATSFailure].
type NATSFailureKind int

// The kinds of failure. Their texts are those of [Tried.Attempts].
const (
	NATSUnreachable NATSFailureKind = iota // there is no connection to a server
	NATSNoStream                           // no stream takes the subject
	NATSFull                               // the stream is full and discards what is new
	NATSLate                               // there was no acknowledgement in time
	NATSTooLarge                           // no server or stream ever takes the message
	NATSRefused                            // any other answer
)

var natsFailureNames = [...]string{"no connection", "no stream", "stream full", "no acknowledgement", "too large", "refused"}

func (k NATSFailureKind) String() string { return natsFailureNames[k] }

// natsAcked is what came of an attempt that succeeded.
const natsAcked = "acknowledged"

const (
	// maxSubject bounds a subject in bytes. A server ends a connection for good on which a line is
	// longer than its max_control_line, 4 KiB, and topics are named by others.
	maxSubject = 255
	// maxBatch bounds a message of several lines in bytes.
	maxBatch = 64 << 10
)

// NewNATSDrain returns a drain that publishes by o.Publisher.
func NewNATSDrain(o NATSOptions) *NATSDrain {
	d := &NATSDrain{o: o, log: orDiscard(o.Logger), backoff: phoenix.DefaultReconnectAfter(), batchSize: maxBatch}
	d.outage = outage{log: d.log, level: slog.LevelWarn}
	return d
}

// Run implements [Drain].
func (d *NATSDrain) Run(ctx context.Context, q *Queue) error {
	if closer, ok := d.o.Publisher.(interface{ Close() }); ok {
		defer closer.Close()
	}
	most := d.o.Window
	if d.o.Lines {
		most = linesTaken
	}
	for {
		c, err := q.TakeSome(ctx, most)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = d.publishChunk(ctx, q, c)
		}
		if err != nil {
			return err
		}
	}
}

// linesTaken is how many lines are taken at once, for all the messages of a window: they are copied
// into one chunk.
const linesTaken = 4096

// publishChunk publishes the records of c and gives c back: those that are not acknowledged wait in
// the queue until it is their turn again. An error is the cause of ctx's end.
func (d *NATSDrain) publishChunk(ctx context.Context, q *Queue, c *Chunk) error {
	for c.Len() > 0 {
		messages, lines, wrong := d.messages(c)
		next := 0
		err := error(nil)
		if len(messages) > 0 {
			err = d.o.Publisher.Publish(ctx, messages, func() {
				q.attempted(natsAcked, nil)
				q.Advance(c, lines[next])
				next++
			})
		}
		if next > 0 {
			d.failures = 0
			d.again, d.logged = nil, [len(natsFailureNames)]bool{}
			d.outage.over("messages are acknowledged again")
		}
		switch {
		case err == nil && wrong != nil:
			err = wrong
		case err == nil:
			continue
		case ctx.Err() != nil:
			q.ReleaseFirst(c, 0)
			return context.Cause(ctx)
		}
		d.remember(messages[next:], lines[next:])
		several := next < len(lines) && lines[next] > 1
		return d.failed(ctx, q, c, several, err)
	}
	q.Release(c)
	return nil
}

// failed gives back c, whose first message was not acknowledged, and waits before the next attempt.
// several says that the message is of more than one line.
func (d *NATSDrain) failed(ctx context.Context, q *Queue, c *Chunk, several bool, err error) error {
	failure := &NATSFailure{Kind: NATSRefused, Err: err}
	errors.As(err, &failure)
	q.attempted(failure.Kind.String(), err)
	_, seq := c.Record(0)
	_, announcement := c.lossOf(0)
	if failure.Kind == NATSTooLarge && several {
		d.batchSize, d.again = d.batchSize/2, nil
		q.GiveBack(c, 0, 0)
		return nil
	}
	if failure.Kind == NATSTooLarge {
		if n, ok := d.lost.pick(1, lossReportInterval); ok {
			d.log.Warn("a signal is lost: NATS does not take it", "error", err, "seq", seq, "lost", n)
		}
		q.GiveBack(c, 0, 1)
		return nil
	}
	lost := 0
	if announcement { // which would come again, grown, beside the one that may be in the stream
		lost = 1
	}
	q.GiveBack(c, 0, lost)
	delay := d.backoff(d.failures)
	d.failures++
	d.outage.on = d.logged[failure.Kind]
	d.logged[failure.Kind] = true
	d.outage.failed("messages are not acknowledged; they are published again", "error", err, "delay", delay)
	if err := pause(ctx, delay); err != nil {
		return err
	}
	if failure.Kind == NATSUnreachable {
		err := d.o.Publisher.Ready(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			d.failures = 0
		}
	}
	return nil
}

// remember keeps how many lines the batches have that were not acknowledged.
func (d *NATSDrain) remember(messages []NATSMessage, lines []int) {
	if !d.o.Lines {
		return
	}
	d.again = map[string]int{}
	for i, m := range messages {
		first, _, _ := strings.Cut(m.ID, batchMark)
		d.again[first] = lines[i]
	}
}

// messages returns messages of the records of c, and how many records each is. wrong is why the
// record behind them is none.
func (d *NATSDrain) messages(c *Chunk) (messages []NATSMessage, lines []int, wrong error) {
	for i := 0; i < c.Len() && len(messages) < d.o.Window; {
		line, _ := c.Record(i)
		h, err := readHead(d.event(line))
		if err != nil {
			return messages, lines, &NATSFailure{Kind: NATSTooLarge, Err: err}
		}
		n := 1
		var m NATSMessage
		if d.o.Lines {
			m, n = d.batch(c, i, h)
		} else if m, err = d.single(h); err != nil {
			return messages, lines, &NATSFailure{Kind: NATSTooLarge, Err: err}
		}
		messages, lines = append(messages, m), append(lines, n)
		i += n
	}
	return messages, lines, nil
}

// event returns the CloudEvent of a record, if messages have to be such ones: what a spool has from before the format of the sink was
// changed is another one. An attribute is no object, so a record that ends with one is no CloudEvent of ours.
func (d *NATSDrain) event(line []byte) []byte {
	if !d.o.CloudEvents || d.o.Lines || !bytes.HasSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte("}}")) {
		return line
	}
	converted, err := signal.Convert(nil, line, signal.FormatCloudEvents)
	if err != nil {
		return line // it is judged as it is
	}
	return converted
}

// single returns the message of one record.
func (d *NATSDrain) single(h head) (NATSMessage, error) {
	m := NATSMessage{ID: h.id, Data: bytes.TrimSuffix(h.line, []byte{'\n'})}
	if d.o.ByType {
		m.Subject = subjectOf(h.typ)
	} else {
		topics := signal.BusTopics(h.connection, h.topic())
		m.Subject = subjectOf(topics[len(topics)-1])
	}
	switch {
	case d.o.Binary:
		m.Data = nil
		if err := readAttributes(h.line, func(name, text string) {
			m.Header = append(m.Header, [2]string{"ce-" + name, escapeHeader(text)})
		}, func(data []byte) { m.Data = data }); err != nil {
			return m, err
		}
	case d.o.CloudEvents:
		m.Header = [][2]string{{"content-type", "application/cloudevents+json"}}
	}
	return m, nil
}

// batchMark stands in the id of a batch between that of its first line and the number of lines.
const batchMark = "+"

// batch returns the message of lines of one connection, from the i-th record on, and their number.
func (d *NATSDrain) batch(c *Chunk, i int, h head) (NATSMessage, int) {
	first, _ := c.Record(i)
	size, n := len(first), 1
	most := d.again[h.id] // 0: it was not published before
	// What the sink is told of the losses of others has no origin that tells the connections apart.
	if l, _ := c.lossOf(i); l.connection() == "" {
		most = 1
	}
	for ; i+n < c.Len() && n != most && c.OriginOf(i+n) == c.OriginOf(i); n++ {
		line, _ := c.Record(i + n)
		if size += len(line); size > d.batchSize {
			break
		}
	}
	return NATSMessage{
		Subject: subjectOf(signal.BusTopics(h.connection, "")[0]),
		ID:      h.id + batchMark + strconv.Itoa(n),
		Header:  [][2]string{{"content-type", "application/x-ndjson"}},
		Data:    c.run(i, n),
	}, n
}

// subjectOf returns a bus topic or a type as a subject: these are legal ones, but for their length.
// A longer one is cut, and ends in a hash of the whole.
func subjectOf(name string) string {
	if len(name) <= maxSubject {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "_" + hex.EncodeToString(sum[:8])
	return strings.TrimRight(name[:maxSubject-len(hash)], ".") + hash
}
