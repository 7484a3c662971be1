package phoenix

import (
	"errors"
	"time"
)

// The part of the driver that is the network: dials, sessions and their ends.

// dialEnds ends a dial, sooner or later, well or badly.
func (d *modelDriver) dialEnds(roll int) {
	switch {
	case roll < 150: // not yet
		d.command()
	case roll == 301:
		d.close()
	case roll < 850 || d.hungUp && roll < 950:
		d.connected()
	default:
		d.endLink()
	}
}

func (d *modelDriver) connected() {
	wanted := false
	waited := time.Duration(d.rng.Int64N(int64(d.now.Sub(d.ref.link.dialedAt)) + 1))
	d.do(cause{name: causeDialed, waited: waited}, func() { wanted = d.m.dialed(d.now, waited, Timings{}) })
	if !wanted {
		d.do(cause{name: causeDialFailed}, func() { d.m.dialFailed(d.now, nil) })
	}
	d.dialing, d.hungUp, d.open, d.attempted = false, false, wanted, 0
	d.server.waiting = nil
}

// endLink ends what there is: the dial under way or the session, whose end is read only while reads are not paused.
func (d *modelDriver) endLink() {
	switch {
	case d.dialing:
		d.dialing, d.hungUp = false, false
		err := d.dialError()
		d.do(cause{name: causeDialFailed, err: err}, func() { d.m.dialFailed(d.now, err) })
	case d.open:
		d.resume()
		c := cause{name: causeLost, err: &LinkError{Stage: StageSession, Reason: ReasonEOF}, attempted: d.ref.link.written}
		if d.rng.IntN(2) == 0 {
			c.err = &LinkError{Stage: StageSession, Reason: ReasonClosedByRemote, Code: 1012, CloseText: "restart"}
			c.attempted = uint64(d.rng.IntN(int(c.attempted) + 1))
		}
		d.open, d.hungUp = false, false
		d.do(c, func() { d.m.linkLost(d.now, c.err, c.attempted) })
	}
}

// abort ends all at once, whatever there is.
func (d *modelDriver) abort() {
	err := errors.New("something panicked")
	c := cause{name: causeAbort, err: &LinkError{Stage: StageSession, Reason: ReasonClosedByUs, Err: err}}
	c.attempted = uint64(d.rng.IntN(int(d.ref.link.written) + 1))
	d.dialing, d.open, d.hungUp = false, false, false
	d.do(c, func() { d.m.abort(d.now, err, c.attempted) })
}

func (d *modelDriver) dialError() *LinkError {
	switch d.rng.IntN(4) {
	case 0:
		return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: 403}
	case 1:
		after := time.Duration(d.rng.IntN(5)) * time.Second
		return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: 503, RetryAfter: after}
	}
	return &LinkError{Stage: StageTCP, Reason: ReasonConnectRefused}
}
