// Package phoenix is a client for Phoenix Channels: it connects to a Phoenix socket, joins topics, pushes messages and
// hands out what the server sends, and it comes back when the link or a channel is lost.
//
//	conn, err := phoenix.New(phoenix.Options{URL: "wss://example.com/socket", MaxRetries: -1})
//	if err != nil {
//		return err
//	}
//	events := conn.Events()
//	if err := conn.Start(ctx); err != nil {
//		return err
//	}
//	defer conn.Close(context.Background())
//	if _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:lobby"}); err != nil {
//		return err
//	}
//	for event, err := range events.All(ctx) {
//		...
//	}
//
// A [Conn] is one connection; [Options] say where to and how patiently. [Conn.Serve] runs it, or [Conn.Start] in the
// background. [Conn.Join], [Conn.Push] and [Conn.Leave] wait for the server's answer, which [Conn.JoinEvent],
// [Conn.PushEvent] and [Conn.LeaveEvent] return as its event (TestEventsOfCalls); [Conn.Send] does not wait. Everything that
// happens, messages above all, comes as an [Event] out of the [Stream] of [Conn.Events].
//
// A connection has sessions, one for each open WebSocket. A channel is a topic that is wanted: it is joined in every
// session, until Leave.
//
// What follows is promised. Behind each promise stands the rule of PROTOCOL.md that it comes from, or a test that shows it.
//
// # Order
//
// There is one stream a connection, and its order is that of the wire (rule 7; TestOrderOfManyMessages). That holds for
// everything in it: a reply comes behind the messages that the server sent before it, and [Disconnected] behind everything
// that was received in its session (rule 22; TestFramesBeforeTheEnd). What hangs on a lost link ends behind it: first the
// pushes, then the channels (TestPushesOfLostLink). A Close, or the end of Serve's context, is told by a last [Disconnected],
// during a dial or a backoff, too (TestCloseWhileDialing, TestCloseWhileWaitingForRetry). [Event.Seq] counts without a hole; messages that Options.Skip drops are
// counted (TestSkip).
//
// # Concurrency
//
// The methods of a Conn may be called from any goroutine (TestConcurrentPushes). A Stream has one consumer: one goroutine
// at a time calls [Stream.Next]. An event and its payload's bytes are valid until the next call; [Event.Clone] keeps them.
//
// The consumer must not wait for the server. While it waits in Push, Join, Leave or Heartbeat it does not read, and the
// answer may be behind events that it has not taken: it can Send, or wait in another goroutine.
//
// Callbacks run on goroutines of the connection: Options.Skip and Options.Trace on those that read and write, which they
// hold up, and Options.OnHeartbeat on the one that does all else (TestOnHeartbeat). Options.Credentials and Channel.Params may
// block; their context ends with ConnectTimeout and ReplyTimeout (TestCredentialsTimeout, TestParamsFail).
//
// A panic of a callback, or of anything else that runs for a connection, ends that connection and nothing else: its socket is
// closed, the stream says how the link and the pushes ended, and ends, calls that wait fail, and Serve returns a [PanicError]
// (TestPanics, TestPanicWhileCallsWait).
//
// [Conn.Serve] returns when everything that it started has returned; the tests run in testing/synctest bubbles, which
// check that.
//
// # Delivery
//
// Delivery is at most once, both ways: nothing is sent again, and what the server sends while there is no link or no
// channel is gone. [Joined] says with Gap how long that was (rule 20; TestServerRestart); after a half-open link it counts
// from the last frame that came (TestHalfOpenLink). No message comes twice.
//
// Every push ends exactly once, in a [PushReply] of whatever status, a [PushTimeout] or a [PushError], and never later than
// its timeout while reads are not paused. When no reply can come any more it fails at once (rules 8 and 19;
// TestChannelLost), and says with [Delivered] whether it may have reached the server. A second reply, and one behind the
// timeout, is logged and is no event (rule 6; TestPushTimeoutAndLateReply). A push on a topic whose join is under way waits
// for it (TestPushBeforeJoined); one on a topic that is not wanted, or between two joins, fails at once.
//
// # Presence
//
// With Options.Presence the connection keeps track of who is present in each channel, as phoenix.js does (rule 26): behind
// each presence_state, and each presence_diff that is news, come a PresenceJoin and a PresenceLeave for each key with a
// difference, and a PresenceSync with the whole [PresenceState] (TestPresenceOrderAndNumbers, TestPresenceOfTwoUsers).
// Added up, joins and leaves are the state: none is told twice, and what diffs undo before the first state of a join is not
// told at all. That state tells what became different during a loss of the link or the channel (TestPresenceOverReconnect).
// A message that Skip drops is tracked all the same. One that is no presence's is logged, and changes nothing
// (TestPresenceMalformedIsReported).
//
// # Memory
//
// What waits for the consumer is bounded: 256 KiB of messages, one message at least, in 1 MiB of buffers and presence
// states, or 4096 events (TestSlowConsumer, TestMemoryOfSlowConsumer, TestPresenceMemoryPausesReads). Then reads pause,
// and the server is pushed back on by TCP. Meanwhile heartbeats are written, and the time in which the server owes us
// answers stands still (rule 21; TestTimeoutsAfterPause). A server that is not read from for long closes the link; what
// was received before is still delivered (TestConsumerTooSlowForServer). A link that dies meanwhile is ended by the
// kernel, on Linux, when it acknowledges nothing for HeartbeatInterval and HeartbeatTimeout (TestUserTimeout). A burst that is
// over does not take memory for ever (TestStreamForgetsBurst, TestBatchForgetsBurst).
//
// While more than 1 MiB waits to be written, what would add to it waits: Push, PushEvent, Send, SendRef and Heartbeat. Status,
// Close, and what joins and leaves a topic do not (TestWriteBacklog). A message is at most Options.MaxMessage long,
// decompressed; a larger one ends the session (TestMessageTooBig, TestCompressedMessageTooBig). So large is the presence state
// of a channel at most, and 1 MiB the diffs that wait for it.
//
// Not bounded are the pushes under way: their number is in the hands of who calls Send.
//
// # Time
//
// Every wait has its end:
//
//	ConnectTimeout     a dial, from credentials to upgrade
//	ReplyTimeout       a join, a leave, and a push without a Timeout of its own
//	HeartbeatInterval  heartbeats are so far apart, whatever is received (rule 17; TestHourOfHeartbeatsOnBusyChannel)
//	HeartbeatTimeout   the answer to one; then the link is dropped (TestHalfOpenLink), but while a join is under way not
//	                   before that has timed out (rule 10; TestSlowJoinIsNoDeadLink)
//	StableAfter        so long a session is up, with every channel joined, before its retries are forgotten
//
// Close waits two seconds for the server's close frame (TestCloseOfHalfOpenLink).
//
// # Retries
//
// After every end of a session that we did not ask for, close code 1000 included, the connection dials again and joins its
// channels again, once each (rule 13; TestEveryLossReconnects). So it does after a dial that failed. A channel that crashed
// or was closed by the server, or whose join timed out, is joined again (rules 8 and 9; TestChannelLost,
// TestJoinTimeoutIsLeftAndRetried).
//
// MaxRetries bounds the retries in a row, of the dial and of each channel's join. Those of the dial are counted anew only
// when a session has been stable for StableAfter: accept-then-close is not hammered (rule 14; TestAcceptThenClose). Those of
// a channel are when it has been joined for as long, and in a new session. Delays are jittered by default (rule 15;
// TestJittered), and a Retry-After is honoured (TestRefusedDials).
//
// Not retried is a "no" that only other credentials or another address can change: an HTTP status below 500 other than 408
// and 429, a certificate, an answer that is no WebSocket, a refused join; unless RetryRefusals is set (rule 16;
// TestRefusedDials, TestRetryRefusedJoin). With FailFast nothing is until every channel has been joined once (TestFailFast).
// Never retried is a push.
//
// # Supervision
//
// A [Supervisor] runs many named connections. Of each name there is one run at a time, and what is asked of a name is done in
// the order in which it was asked (TestConsumerHangs). A connection that hangs, panics or gives up harms no other
// (TestCredentialsHang, TestPanicOfConsumer, TestSupervisorRetriesExhausted). A call returns at the latest when its context
// ends; what it began goes on (TestStopOfHalfOpenLink). Stop leaves the channels, closes the link with 1000 and waits for the
// consumer (TestStopLeavesAllChannels): two seconds for the leaves and two for the close at most, plus the consumer's own time.
// A run that panics is started again after ReconnectAfter, MaxRetries times in a row at most (TestPanicsAfterStableRuns). Seq
// and Session go on from run to run (TestSupervisorStartAndStop). Dials to one server are staggered (TestDialTurns); who dials
// alone does not wait (TestDialAloneDoesNotWait). A stopped connection has no goroutine (TestSupervisorLeavesNothingBehind).
//
// # Compatibility
//
// The package speaks vsn 2.0.0 and 1.0.0 (TestVersion1), and binary payloads with 2.0.0 (TestRepliesOfAnyKind). It goes by
// what Phoenix was recorded to do on Bandit and on Cowboy (PROTOCOL.md, part 2). A frame that it cannot read is logged and dropped (TestUnreadableFrames). Payloads are passed on as
// the bytes that they were; the package decodes none but those of presence.
//
// Fields, options, event types and reasons are added, never changed or removed: a type switch over [Detail] and a switch
// over a reason want a default.
package phoenix
