package cmd

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

const (
	// maxTopics is how many topics --envelope keeps joined: Phoenix allows 100 on a socket (PROTOCOL.md, rule 11).
	maxTopics = 64
	// maxHeld bounds the bytes of replies that wait for that to an earlier push, besides those to the pushes that are out.
	maxHeld = 32 << 20
	// heldOverhead is about what a reply takes beside its payload.
	heldOverhead = 512
	// maxBatch and maxBatchBytes bound what is sent at once: the pushes, and the size of their payloads.
	maxBatch, maxBatchBytes = 256, 64 << 10
)

// A sender reads the input and sends. One goroutine does that, in run; the other methods are for the goroutine that reads events,
// and tell it what comes of the pushes. Pushes that may be sent collect in a batch, which is sent before the sender waits for anything.
type sender struct {
	options  *pushOptions
	in       *pushInput
	session  *session
	limiter  *rate.Limiter // nil: no limit
	progress pushProgress

	// leftover is what had been read of an incomplete or bad item when the reading ended; valid after run.
	leftover []byte

	// batched are the indexes of the items in batch, except for those that are sent again; batchBytes is the size of its payloads.
	batch      *phoenix.PushBatch
	batched    []int
	batchBytes int

	// freed is how many places have become free that run has not been told of. It belongs to the goroutine that reads events.
	freed int

	mu sync.Mutex
	// items are those without an end, or whose end is not printed yet; lost are the indexes of those to be sent again, in order.
	items  map[int]*sentItem
	lost   []int
	topics map[string]*sentTopic
	// count is how many items were read; inflight how many of them are sent and without an end.
	count, inflight int
	// held is the size of the ends that wait for their turn; beyond mostHeld nothing is sent.
	held, mostHeld int
	// uses counts the uses of topics.
	uses int
	// wake has a value when run is to look again.
	wake chan struct{}
}

// A sentItem is an item from when it is read until its end is printed.
type sentItem struct {
	pushItem
	// end is how the push ended; isOver says that it is not to be sent again, acknowledged that it was answered with ok.
	end                  *phoenix.Event
	isOver, acknowledged bool
	// isHeld says that the end waits for that of an earlier push.
	isHeld bool
	// bad is why it was not sent.
	bad error
}

// A sentTopic is a topic that is pushed to.
type sentTopic struct {
	state topicState
	// inflight is how many pushes have no end; lastUse is when it was used, as a count.
	inflight, lastUse int
}

type topicState int

const (
	topicAway   topicState = iota // it will be joined
	topicJoined                   // pushes can be sent
	topicGone                     // it will not be joined any more: pushes fail
)

func newSender(o *pushOptions, in *pushInput) *sender {
	sd := &sender{
		options: o, in: in,
		items: map[int]*sentItem{}, topics: map[string]*sentTopic{}, mostHeld: maxHeld, wake: make(chan struct{}, 1),
	}
	if o.rate > 0 {
		// A hundredth of a second's pushes may go at once: timers are not exact enough for a high rate.
		sd.limiter = rate.NewLimiter(rate.Limit(o.rate), max(1, int(o.rate/100)))
	}
	return sd
}

// run reads and sends until the input has ended, failed, or nothing more is to be sent, because ctx has ended; it calls over with the
// error. Then it sends again what was lost, until ctx ends.
func (s *sender) run(ctx context.Context, over func(error)) {
	s.batch = s.session.conn.NewPushBatch()
	s.in.reader.ctx, s.in.reader.wake, s.in.reader.woken = ctx, s.wake, func() { s.sendAgain(ctx) }
	s.in.reader.beforeWait = func() { s.flush(ctx) }
	err := s.sendAll(ctx)
	s.flush(ctx)
	over(err)
	for {
		select {
		case <-s.wake:
			s.sendAgain(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *sender) sendAll(ctx context.Context) error {
	for {
		item, err := s.in.next()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && s.count == 0:
			return s.in.errNoInput()
		case errors.Is(err, io.EOF):
			return nil
		case s.in.goesOn(err):
			s.addBad(item, err)
			continue
		default:
			s.leftover = item.source
			if errors.Is(err, errStopped) {
				return nil
			}
			return err
		}
		index, sent := s.add(item)
		goOn, err := s.send(ctx, index, sent, item.payload)
		if s.options.envelope && s.in.goesOn(err) {
			s.setBad(sent, err)
			continue
		}
		if err != nil || !goOn {
			return err
		}
	}
}

// send sends an item once it may. It reports whether to go on.
func (s *sender) send(ctx context.Context, index int, item *sentItem, payload phoenix.Payload) (goOn bool, err error) {
	if s.options.envelope {
		if err := s.options.connection.CheckPush(item.topic, item.event); err != nil {
			return false, s.in.errBad(item.place()+": "+err.Error(), err)
		}
		if goOn, err = s.use(ctx, item); err != nil || !goOn {
			return goOn, err
		}
	}
	if !s.await(ctx, func() bool { return s.mayBegin(item.topic) }) {
		return false, nil
	}
	isPaced := s.pace(ctx)
	if isPaced {
		err = s.addToBatch(index, item, payload)
	}
	if !isPaced || err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.giveBack(item)
		return false, err
	}
	s.batched = append(s.batched, index)
	isFull := s.batch.Len() >= maxBatch || s.batchBytes >= maxBatchBytes
	return !isFull || s.flush(ctx), nil
}

// flush sends the batch. False: the connection or ctx has ended, which explains itself.
func (s *sender) flush(ctx context.Context) bool {
	if len(s.batched) == 0 {
		return true
	}
	isSent := s.sendBatch(ctx)
	if !isSent || s.options.noReply {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, index := range s.batched {
			s.giveBack(s.items[index])
			if s.options.noReply {
				delete(s.items, index)
			}
		}
	}
	s.batched = s.batched[:0]
	return isSent
}

// giveBack gives back the place of an item that was not sent.
func (s *sender) giveBack(item *sentItem) {
	if !s.options.noReply {
		s.inflight--
		s.topics[item.topic].inflight--
	}
}

// sendBatch sends what addToBatch has added. It is false when the connection or ctx has ended, and nothing was sent.
func (s *sender) sendBatch(ctx context.Context) bool {
	n := s.batch.Len()
	s.batchBytes = 0
	if ctx.Err() != nil || s.batch.Send(ctx) != nil {
		return false
	}
	s.progress.sent.Add(int64(n))
	return true
}

// await waits until ok, which is called under the lock, reports true. It is false when ctx has ended.
func (s *sender) await(ctx context.Context, ok func() bool) bool {
	for {
		s.sendAgain(ctx)
		if ctx.Err() != nil {
			return false
		}
		s.mu.Lock()
		isOK := ok()
		s.mu.Unlock()
		if isOK {
			return true
		}
		s.flush(ctx)
		select {
		case <-s.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// mayBegin takes a place for a push, if there is one.
func (s *sender) mayBegin(topic string) bool {
	t := s.topics[topic]
	if t.state == topicAway || !s.options.noReply && (s.inflight >= s.options.maxInflight || s.held > s.mostHeld) {
		return false
	}
	if !s.options.noReply {
		s.inflight++
		t.inflight++
	}
	return true
}

// pace waits until the rate allows a push. It is false when ctx has ended.
func (s *sender) pace(ctx context.Context) bool {
	if s.limiter == nil {
		return true
	}
	delay := s.limiter.Reserve().Delay()
	if delay > 0 {
		s.flush(ctx)
	}
	select { // not Wait, which fails at once when ctx has a deadline that is too early
	case <-time.After(delay):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// addToBatch adds an item to the batch. Its error says what is wrong with the item.
func (s *sender) addToBatch(index int, item *sentItem, payload phoenix.Payload) error {
	p, err := s.options.pushOf(&item.pushItem, payload)
	if err == nil {
		p.Index, p.NoReply = index, s.options.noReply
		err = s.batch.Add(p)
	}
	switch {
	case err == nil:
		s.batchBytes += len(payload.Data)
		return nil
	case s.options.envelope:
		return s.in.errBad(item.place()+": "+err.Error(), err)
	}
	return exit.Usagef("see `phx push --help`", "%v", err)
}

// use joins a topic at its first use. goOn is false when that has failed and nothing more is to be sent.
func (s *sender) use(ctx context.Context, item *sentItem) (goOn bool, err error) {
	topic := item.topic
	s.mu.Lock()
	s.uses++
	t := s.topics[topic]
	if t != nil {
		t.lastUse = s.uses
	}
	isFull := len(s.topics) >= maxTopics
	s.mu.Unlock()
	switch {
	case t != nil:
		return true, nil
	case !s.flush(ctx):
		return false, nil
	case isFull:
		if goOn, err := s.leaveOne(ctx); err != nil || !goOn {
			return goOn, err
		}
	}
	channels, err := s.options.connection.Channels(ctx, topic) // no resume: takeArgs refuses it
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.topics[topic] = &sentTopic{lastUse: s.uses}
	s.mu.Unlock()
	var refused *phoenix.JoinError
	switch _, err := s.session.conn.Join(ctx, channels[0]); {
	case errors.As(err, &refused):
		// The stream tells of it, too, and of each push that fails for it.
		s.setTopic(topic, topicGone)
		return s.options.keepGoing, nil
	case errors.As(err, new(*phoenix.InvalidError)):
		s.mu.Lock()
		delete(s.topics, topic)
		s.mu.Unlock()
		return false, s.in.errBad(item.place()+": "+err.Error(), err)
	}
	return ctx.Err() == nil, nil
}

// leaveOne leaves the topic that has not been used for the longest time, and forgets it.
func (s *sender) leaveOne(ctx context.Context) (goOn bool, err error) {
	oldest := ""
	isIdle := func() bool {
		for topic, t := range s.topics {
			if t.inflight == 0 && t.state != topicAway && (oldest == "" || t.lastUse < s.topics[oldest].lastUse) {
				oldest = topic
			}
		}
		return oldest != ""
	}
	if !s.await(ctx, isIdle) {
		return false, nil
	}
	s.mu.Lock()
	wasJoined := s.topics[oldest].state == topicJoined
	delete(s.topics, oldest)
	s.mu.Unlock()
	if !wasJoined {
		return true, nil
	}
	left, err := s.session.conn.LeaveEvent(ctx, oldest)
	if s.options.noReply && err == nil {
		err = unconfirmed(&left)
		return err == nil, err
	}
	return ctx.Err() == nil, nil
}

// unconfirmed says that it is not known whether pushes without a reply have been handled, unless the leave behind them was confirmed.
func unconfirmed(left *phoenix.Event) error {
	topic := left.Topic
	switch d, isLeft := left.Detail.(*phoenix.Left); {
	case !isLeft || d.Confirmed:
		return nil
	case d.Crashed:
		return channelLost(left, "crashed")
	}
	return &exit.Error{
		Code: exit.Timeout, Message: "the server has not confirmed that what was pushed on \"" + topic + "\" has been handled: it has not answered the leave in time",
		Hint: "allow more with --timeout, or leave out --no-reply",
	}
}

// sendAgain sends what was lost and whose topic is joined again, in input order.
func (s *sender) sendAgain(ctx context.Context) {
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.lost, func(index int) bool { return s.topics[s.items[index].topic].state != topicAway })
		if i < 0 {
			s.mu.Unlock()
			return
		}
		index := s.lost[i]
		item := s.items[index]
		s.lost = slices.Delete(s.lost, i, i+1)
		s.mu.Unlock()
		// The item was sent before, so that nothing is wrong with it.
		sent := s.flush(ctx) && s.pace(ctx) && s.addToBatch(index, item, item.payload) == nil && s.sendBatch(ctx)
		if !sent { // ctx or the connection has ended
			s.mu.Lock()
			s.lost = slices.Insert(s.lost, 0, index)
			s.mu.Unlock()
			return
		}
	}
}

// add takes an item that was read.
func (s *sender) add(item pushItem) (index int, added *sentItem) {
	if !s.options.keepsFailed() {
		item.source = nil
	}
	if !s.options.envelope {
		item.topic, item.event, item.broadcast = s.options.topic, s.options.event, s.options.broadcast
	}
	if !s.options.resend {
		item.payload = phoenix.Payload{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	index, added = s.count, &sentItem{pushItem: item}
	s.items[index] = added
	s.count++
	return index, added
}

// addBad adds a bad item.
func (s *sender) addBad(item pushItem, err error) {
	_, added := s.add(item)
	s.setBad(added, err)
}

// setBad records and logs why an item is not sent.
func (s *sender) setBad(item *sentItem, err error) {
	s.options.client.log.Error(err.Error())
	s.progress.failed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	item.bad = err
}

// wakeUp has run look again.
func (s *sender) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// setTopic says whether a topic can be pushed to; one that is not used any more is ignored.
func (s *sender) setTopic(topic string, state topicState) {
	s.mu.Lock()
	if t := s.topics[topic]; t != nil {
		t.state = state
	}
	s.mu.Unlock()
	s.wakeUp()
}

// linkLost says that no topic is joined.
func (s *sender) linkLost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		if t.state == topicJoined {
			t.state = topicAway
		}
	}
}

// lose keeps a push that was lost, to be sent again.
func (s *sender) lose(index int, ev *phoenix.Event) {
	end := ev.Clone()
	s.mu.Lock()
	s.items[index].end = &end
	s.lost = append(s.lost, index)
	s.mu.Unlock()
	s.wakeUp()
}

// returns reports whether a topic will be joined again.
func (s *sender) returns(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	return t != nil && t.state != topicGone
}

// takeLost returns the ends of the pushes that were to be sent again, and will not be.
func (s *sender) takeLost() (ends []*phoenix.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, index := range s.lost {
		ends = append(ends, s.items[index].end)
	}
	s.lost = nil
	return ends
}

// ended takes the end of a push. isNext says that take follows, so that ev does not have to be kept.
func (s *sender) ended(index int, ev *phoenix.Event, isNext, acknowledged bool) {
	end := ev
	if !isNext {
		kept := ev.Clone()
		end = &kept
	}
	s.mu.Lock()
	item := s.items[index]
	item.end, item.isOver, item.isHeld, item.acknowledged = end, true, !isNext, acknowledged
	item.payload = phoenix.Payload{}
	s.inflight--
	s.topics[item.topic].inflight--
	if item.isHeld {
		s.held += len(end.Payload.Data) + heldOverhead
	}
	s.mu.Unlock()
	// To tell run of each place would have it send one push at a time.
	if s.freed++; 2*s.freed >= s.options.maxInflight {
		s.tellFreed()
	}
}

// tellFreed tells run of free places.
func (s *sender) tellFreed() {
	if s.freed > 0 {
		s.freed = 0
		s.wakeUp()
	}
}

// take takes the item at index if its turn to be printed has come, because it has an end or is bad; nil: it was pushed without a reply,
// and nothing comes of it.
func (s *sender) take(index int) (item *sentItem, isOver bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item = s.items[index]
	switch {
	case item == nil:
		return nil, s.options.noReply && index < s.count
	case !item.isOver && item.bad == nil:
		return nil, false
	}
	delete(s.items, index)
	if item.isHeld {
		if s.held > s.mostHeld {
			s.wakeUp()
		}
		s.held -= len(item.end.Payload.Data) + heldOverhead
	}
	return item, true
}

// outstanding reports whether a push has no end.
func (s *sender) outstanding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inflight > 0
}

// joined returns the topics that are to be left.
func (s *sender) joined() (topics []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, t := range s.topics {
		if t.state == topicJoined {
			topics = append(topics, topic)
		}
	}
	return topics
}
