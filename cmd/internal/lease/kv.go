package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"phx/cmd/internal/natslink"
)

// A KV is a [Store] in a bucket of NATS JetStream. Sessions have a time to live of their own, which takes a server of 2.11 or newer.
type KV struct {
	link     *natslink.Link
	bucket   string
	replicas int
	ttl      time.Duration
	log      *slog.Logger

	// mu guards what belongs to the connection that was used last, and the watch.
	mu      sync.Mutex
	conn    *nats.Conn
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	unwatch context.CancelFunc // nil: nothing is watched
	// has is how many replicas the bucket has, 0 if that is not known.
	has int

	// highest is the highest revision that was seen.
	highest atomic.Uint64
}

// NewKV returns the store in a bucket, which is made when it is not there, with so many replicas. The sessions of all instances have to
// have the same time to live.
func NewKV(link *natslink.Link, bucket string, replicas int, ttl time.Duration, log *slog.Logger) *KV {
	return &KV{link: link, bucket: bucket, replicas: replicas, ttl: ttl, log: log}
}

// The keys of a bucket. IDs and names of connections are legal tokens.
const (
	sessionKey = "session."
	runKey     = "run."
	valueKey   = "resume."
)

// open returns the bucket by the connection that there is now.
func (s *KV) open(ctx context.Context) (jetstream.JetStream, jetstream.KeyValue, error) {
	conn, err := s.link.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	if s.conn == conn && s.kv != nil {
		defer s.mu.Unlock()
		return s.js, s.kv, nil
	}
	s.mu.Unlock()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, nil, err
	}
	kv, err := js.KeyValue(ctx, s.bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.create(ctx, js)
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, nil, fmt.Errorf("JetStream is not enabled on the NATS server, or not for the account: %w", err)
	case err != nil:
		return nil, nil, fmt.Errorf("the bucket %s: %w", s.bucket, err)
	}
	if err := s.check(ctx, kv); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.js, s.kv = conn, js, kv
	return js, kv, nil
}

// beyond is how much later than what this process has seen the revisions of a new bucket begin: others may have written since.
const beyond = 1 << 20

// create makes the bucket. Another instance may do the same. If there was one before, which somebody has deleted, or whose disk is lost, the
// revisions go on: with lower epochs than before, signals would be dropped by whoever remembers the highest. For that it makes the stream
// itself, as CreateKeyValue of jetstream does, which has no first sequence.
func (s *KV) create(ctx context.Context, js jetstream.JetStream) (jetstream.KeyValue, error) {
	info, err := js.AccountInfo(ctx)
	switch {
	case err != nil:
		return nil, err
	case info.API.Level < 1:
		return nil, errors.New("the NATS server is too old for leases: it has to be 2.11 or newer")
	}
	config := jetstream.StreamConfig{
		Name: s.stream(), Description: "leases of phx serve", Subjects: []string{"$KV." + s.bucket + ".>"}, Replicas: s.replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, AllowDirect: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: s.ttl,
	}
	before := s.highest.Load()
	if before > 0 {
		config.FirstSeq = before + beyond
	}
	_, err = js.CreateStream(ctx, config)
	switch {
	case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
	case err != nil:
		return nil, fmt.Errorf("it cannot be made with %d replicas (cluster.replicas): %w", s.replicas, err)
	case before > 0:
		s.log.Warn("the bucket of the leases was gone, and has been made again: all connections begin anew", "bucket", s.bucket)
	}
	return js.KeyValue(ctx, s.bucket)
}

// stream is the name of the stream that the bucket is made of.
func (s *KV) stream() string { return "KV_" + s.bucket }

// check refuses a bucket whose keys have no time to live, and says what else it has that was not asked for.
func (s *KV) check(ctx context.Context, kv jetstream.KeyValue) error {
	status, err := kv.Status(ctx)
	if err != nil {
		return err
	}
	has := status.Config().Replicas
	s.mu.Lock()
	known := s.has
	s.has = has
	s.mu.Unlock()
	if has != s.replicas && has != known {
		s.log.Warn("the bucket of the leases has another number of replicas than cluster.replicas says", "bucket", s.bucket, "has", has, "wanted", s.replicas,
			"hint", fmt.Sprintf("nats stream edit %s --replicas %d", s.stream(), s.replicas))
	}
	if status.LimitMarkerTTL() <= 0 {
		return fmt.Errorf("the keys of the bucket %s cannot have a time to live of their own: delete it, and phx makes a right one, or `nats kv add %s --marker-ttl 1m`",
			s.bucket, s.bucket)
	}
	return nil
}

// forget has the next call open the bucket again: it may be gone.
func (s *KV) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv = nil
}

// Begin implements [Store].
func (s *KV) Begin(ctx context.Context, session Session) (uint64, error) {
	return s.put(ctx, sessionKey+session.ID, session, 0, s.ttl, "")
}

// Renew implements [Store].
func (s *KV) Renew(ctx context.Context, session Session, revision uint64, over bool) (uint64, error) {
	if over { // the mark of that need not be kept
		return s.put(ctx, sessionKey+session.ID, nil, revision, s.ttl, "PURGE")
	}
	return s.put(ctx, sessionKey+session.ID, session, revision, s.ttl, "")
}

// Claim implements [Store].
func (s *KV) Claim(ctx context.Context, name string, run Run, revision uint64) (uint64, error) {
	return s.put(ctx, runKey+name, run, revision, 0, "")
}

// Value returns what the owner of a connection keeps for the next one; nil: there is nothing. A replica may answer that lags behind: only a
// write by that revision tells.
func (s *KV) Value(ctx context.Context, name string) (value []byte, revision uint64, err error) {
	js, _, err := s.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	stream, err := js.Stream(ctx, s.stream())
	if err != nil {
		s.forget()
		return nil, 0, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, "$KV."+s.bucket+"."+valueKey+name) // a KV does not tell the revision of a deletion
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "":
		return nil, m.Sequence, nil
	}
	return m.Data, m.Sequence, nil
}

// SetValue writes what the owner of a connection keeps for the next one, if its key has that revision; 0: if there is none.
func (s *KV) SetValue(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	return s.put(ctx, valueKey+name, json.RawMessage(value), revision, 0, "")
}

// put writes a key by compare-and-set, as a KV of jetstream does, which has no time to live for the update of a key. It does not try
// again: whether it was written is not known then.
func (s *KV) put(ctx context.Context, key string, value any, revision uint64, ttl time.Duration, operation string) (uint64, error) {
	js, _, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg("$KV." + s.bucket + "." + key)
	if operation != "" {
		m.Header.Set("KV-Operation", operation)
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	} else if m.Data, err = json.Marshal(value); err != nil {
		return 0, err
	}
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithRetryAttempts(0)}
	if ttl > 0 {
		options = append(options, jetstream.WithMsgTTL(ttl))
	}
	ack, err := js.PublishMsg(ctx, m, options...)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return 0, ErrConflict
		}
	}
	if err != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			s.forget()
		}
		return 0, err
	}
	s.saw(ack.Sequence)
	return ack.Sequence, nil
}

// saw notes a revision.
func (s *KV) saw(revision uint64) {
	for before := s.highest.Load(); before < revision && !s.highest.CompareAndSwap(before, revision); before = s.highest.Load() {
	}
}

// An answer is what a watch found first.
type answer struct {
	view Snapshot
	err  error
}

// Watch implements [Store].
func (s *KV) Watch(ctx context.Context, changed func()) (Snapshot, error) {
	_, kv, err := s.open(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	watching, unwatch := context.WithCancel(context.Background()) // it outlives the call
	s.mu.Lock()
	if s.unwatch != nil {
		s.unwatch()
	}
	s.unwatch = unwatch
	s.mu.Unlock()
	first := make(chan answer, 1)
	go func() {
		defer unwatch()
		watch(watching, kv, first, changed)
	}()
	select {
	case a := <-first:
		if a.err != nil {
			s.forget()
		}
		s.saw(a.view.Revision)
		return a.view, a.err
	case <-ctx.Done():
		unwatch()
		return Snapshot{}, ctx.Err()
	}
}

// Close ends the watch.
func (s *KV) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch != nil {
		s.unwatch()
	}
}

// watch sends what is in the bucket to first, and calls changed after that, until ctx ends. The server sends the last value of each key in
// the order of their revisions, and then what is written; a key that is written meanwhile comes at its new place. So the snapshot is
// whole when nothing is left to be sent, and no earlier, whatever the watcher of jetstream says: it counts keys.
func watch(ctx context.Context, kv jetstream.KeyValue, first chan<- answer, changed func()) {
	w, err := kv.WatchFiltered(ctx, []string{sessionKey + "*", runKey + "*"})
	if err != nil {
		first <- answer{err: err}
		return
	}
	defer func() { _ = w.Stop() }() // the consumer ends by itself, else
	view := Snapshot{Sessions: map[string]SessionEntry{}, Runs: map[string]RunEntry{}}
	known := map[string]bool{} // sessions
	listed, empty := false, true
	for {
		var e jetstream.KeyValueEntry
		var open bool
		select {
		case e, open = <-w.Updates():
		case <-ctx.Done():
			return
		}
		switch {
		case !open:
			if !listed {
				first <- answer{err: errors.New("the watch has ended")}
			}
			return
		case e == nil:
			if listed = listed || empty; empty {
				first <- answer{view: view}
			}
			continue
		case !listed:
			empty = false
			view.add(e)
			if e.Delta() == 0 {
				listed = true
				for id := range view.Sessions {
					known[id] = true
				}
				first <- answer{view: view}
			}
		default:
			id, isSession := strings.CutPrefix(e.Key(), sessionKey)
			put := e.Operation() == jetstream.KeyValuePut
			if !isSession || !put || !known[id] {
				changed()
			}
			if isSession {
				known[id] = put
			}
		}
	}
}

// add adds an entry, or what is left of it. Values that are not ours count as nobody's.
func (v *Snapshot) add(e jetstream.KeyValueEntry) {
	v.Revision = max(v.Revision, e.Revision())
	at := Entry{Revision: e.Revision(), Created: e.Created().UnixMilli()}
	put := e.Operation() == jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), sessionKey); ok {
		var session Session
		if put && json.Unmarshal(e.Value(), &session) == nil && session.ID == id {
			v.Sessions[id] = SessionEntry{session, at}
		} else {
			delete(v.Sessions, id)
		}
	}
	if name, ok := strings.CutPrefix(e.Key(), runKey); ok {
		var run Run
		if put && json.Unmarshal(e.Value(), &run) != nil {
			run = Run{}
		}
		v.Runs[name] = RunEntry{run, at}
	}
}
