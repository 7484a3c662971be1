package phoenix

import "sync"

// An outbox stands between the loop and a session's writer. The loop puts frames in and never waits; the writer takes all
// there are at once, so that they go out in one system call.
type outbox struct {
	mu    sync.Mutex
	job   writeJob
	bytes int
	// taken counts the frames that the writer has taken.
	taken  uint64
	closed bool
	ended  bool
	// more has room for one wake-up of the writer, room for one of the loop: the writer has taken what there was.
	more, room chan struct{}
}

// A writeJob is what there is to write, in this order.
type writeJob struct {
	pongs  []string
	frames []outFrame
	// close asks for a close frame with code, the last thing written.
	close bool
	code  int
}

func newOutbox() *outbox { return &outbox{more: make(chan struct{}, 1), room: make(chan struct{}, 1)} }

// put adds frames. After close they are dropped: they were never written.
func (o *outbox) put(frames []outFrame) {
	o.change(func() {
		if o.closed {
			return
		}
		o.job.frames = append(o.job.frames, frames...)
		for _, f := range frames {
			o.bytes += len(f.data)
		}
	})
}

// maxPongs bounds the pongs that wait: a newer one answers for the older (RFC 6455, section 5.5.3).
const maxPongs = 16

// pong adds the answer to a ping.
func (o *outbox) pong(data string) {
	o.change(func() {
		if len(o.job.pongs) == maxPongs {
			o.job.pongs = o.job.pongs[1:]
		}
		o.job.pongs = append(o.job.pongs, data)
	})
}

// close adds a close frame behind everything else; only the first call counts.
func (o *outbox) close(code int) {
	o.change(func() {
		if !o.closed {
			o.closed, o.job.close, o.job.code = true, true, code
		}
	})
}

// end lets the writer return as soon as it has written a close frame, if one was asked for. Nothing else is written.
func (o *outbox) end() {
	o.change(func() {
		o.ended, o.closed = true, true
		o.job.frames, o.job.pongs, o.bytes = nil, nil, 0
	})
}

func (o *outbox) change(f func()) {
	o.mu.Lock()
	f()
	o.mu.Unlock()
	wake(o.more)
}

// take waits for something to write. False: there is no more.
func (o *outbox) take() (writeJob, bool) {
	for {
		o.mu.Lock()
		job := o.job
		if len(job.frames) > 0 || len(job.pongs) > 0 || job.close {
			wasFull := o.bytes > maxBacklog
			o.job, o.bytes = writeJob{}, 0
			o.taken += uint64(len(job.frames))
			o.mu.Unlock()
			if wasFull {
				wake(o.room)
			}
			return job, true
		}
		ended := o.ended
		o.mu.Unlock()
		if ended {
			return writeJob{}, false
		}
		<-o.more
	}
}

// backlog is how many bytes wait to be written.
func (o *outbox) backlog() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// attempted is the number of frames taken by the writer: of the rest it is certain that the server has not seen them.
func (o *outbox) attempted() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken
}
