// Package phoenix is a client for Phoenix Channels: it connects to a Phoenix socket, joins topics, pushes messages and
// hands out what the server sends, and it comes back when the link or a channel is lost.
//
//	to connect                         New, then Conn.Start, or Conn.Serve in a goroutine of your own
//	to join a topic                    Options.Channels, or Conn.Join; Conn.WaitJoined waits for it
//	to receive what the server sends   Conn.Events before the start, then Stream.All; a message is a *Message
//	to receive one topic, or event     Conn.TopicEvents
//	to push and wait for the reply     Conn.Push, with Marshal for the payload and Reply.Decode for the answer
//	to push from the goroutine         Conn.Send; the reply is a *PushReply in the stream
//	  that receives                    many at once: a PushBatch
//	to read a payload                  Event.Decode, or the bytes in Event.Payload
//	to leave a topic                   Conn.Leave
//	to close                           Conn.Close
//	to log in, with a fresh token      Options.Credentials, Channel.Params
//	to reconnect for ever              Options.MaxRetries: -1
//	to know who is there               Options.Presence; PresenceJoin, PresenceLeave, PresenceSync
//	to measure the round trip          Conn.Heartbeat
//	to keep many connections up        NewSupervisor, Supervisor.Add, Supervisor.Start
//	to know what went wrong            errors.As: *LinkError, *JoinError, *PushError, *PushTimeout, *UnreadError;
//	                                   errors.Is: ErrClosed, ErrJoined, ErrNotJoined, context.DeadlineExceeded
//	to test against a server           package phoenixtest
//
// The examples show each. In short:
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
// [Conn.PushEvent] and [Conn.LeaveEvent] return as its event; [Conn.Send] and [PushBatch.Send] do not wait. Everything that happens, messages
// above all, comes as an [Event] out of the [Stream] of [Conn.Events].
//
// A connection has sessions, one for each open WebSocket. A channel is a topic that is wanted: it is joined in every
// session, until Leave.
//
// What follows is promised. Rules are those of PROTOCOL.md. The tests at the end of a section show what it promises
// (TestEventsOfCalls for the calls above).
//
// # Order
//
// There is one stream a connection, beside those of [Conn.TopicEvents], which have a part of its events, and its order
// is that of the wire (rule 7). That holds for everything in it: a reply comes behind the messages that the server sent
// before it, and [Disconnected] behind everything that was received in its session (rule 22). What hangs on a lost link ends behind it: first the pushes, then the channels. A
// Close, or the end of Serve's context, is told by a last [Disconnected], during a dial or a backoff, too. [Event.Seq]
// counts without a hole; messages that Options.Skip drops are counted.
//
// Tests: TestOrderOfManyMessages, TestFramesBeforeTheEnd, TestPushesOfLostLink, TestCloseWhileDialing,
// TestCloseWhileWaitingForRetry, TestSkip, TestTopicEvents.
//
// # Concurrency
//
// The methods of a Conn may be called from any goroutine. A Stream has one consumer: one goroutine at a time calls
// [Stream.Next]. An event and its payload's bytes are valid until the next call; [Event.Clone] keeps them.
//
// The consumer must not wait for the server. While it waits in Push, Join, Leave or Heartbeat it does not read, and
// the answer may be behind events that it has not taken: it can Send, or wait in another goroutine. Such a wait ends with
// an [UnreadError] when its timeout has passed by the wall clock and no event was taken meanwhile.
//
// Callbacks run on goroutines of the connection: Options.Skip and Options.Trace on those that read and write, which
// they hold up, and Options.OnHeartbeat on the one that does all else. Options.Credentials and Channel.Params may
// block; their context ends with ConnectTimeout and ReplyTimeout.
//
// A panic of a callback, or of anything else that runs for a connection, ends that connection and nothing else: its
// socket is closed, the stream says how the link and the pushes ended, and ends, calls that wait fail, and Serve
// returns a [PanicError].
//
// [Conn.Serve] returns when everything that it started has returned; the tests run in testing/synctest bubbles, which
// check that.
//
// Tests: TestConcurrentPushes, TestCallsBehindUnreadEvents, TestCallBehindSlowConsumer, TestOnHeartbeat,
// TestCredentialsTimeout, TestParamsFail, TestPanics, TestPanicWhileCallsWait.
//
// # Delivery
//
// Delivery is at most once, both ways: nothing is sent again, and what the server sends while there is no link or no
// channel is gone. [Joined] says with Gap how long that was (rule 20); after a half-open link it counts from the last
// frame that came. No message comes twice.
//
// Every push ends exactly once, in a [PushReply] of whatever status, a [PushTimeout] or a [PushError], and never later
// than its timeout while reads are not paused. When no reply can come any more it fails at once (rules 8 and 19), and
// says with [Delivered] whether it may have reached the server. A second reply, and one behind the timeout, is logged
// and is no event (rule 6). A push on a topic whose join is under way waits for it; one on a topic that is not wanted,
// or between two joins, fails at once.
//
// Tests: TestServerRestart, TestHalfOpenLink, TestChannelLost, TestPushTimeoutAndLateReply, TestPushBeforeJoined.
//
// # Presence
//
// With Options.Presence the connection keeps track of who is present in each channel, as phoenix.js does (rule 26):
// behind each presence_state, and each presence_diff that is news, come a PresenceJoin and a PresenceLeave for each
// key with a difference, and a PresenceSync with the whole [PresenceState]. Added up, joins and leaves are the state:
// none is told twice, and what diffs undo before the first state of a join is not told at all. That state tells what
// became different during a loss of the link or the channel. A message that Skip drops is tracked all the same. One
// that is no presence's is logged, and changes nothing.
//
// Tests: TestPresenceOrderAndNumbers, TestPresenceOfTwoUsers, TestPresenceOverReconnect,
// TestPresenceMalformedIsReported.
//
// # Memory
//
// What waits for a consumer is bounded, for each stream: 256 KiB of messages, one message at least, in 1 MiB of buffers
// and presence states, or 4096 events. Then reads pause, and the server is pushed back on by TCP. Meanwhile heartbeats are written,
// and the time in which the server owes us answers stands still (rule 21). A server that is not read from for long
// closes the link; what was received before is still delivered. A link that dies meanwhile is ended by the kernel, on
// Linux, when it acknowledges nothing for HeartbeatInterval and HeartbeatTimeout. A burst that is over does not take
// memory for ever.
//
// While more than 1 MiB waits to be written, what would add to it waits: Push, PushEvent, Send, SendRef and Heartbeat.
// Status, Close, and what joins and leaves a topic do not. A message is at most Options.MaxMessage long, decompressed;
// a larger one ends the session. So large is the presence state of a channel at most, and 1 MiB the diffs that wait
// for it.
//
// Not bounded are the pushes under way: their number is in the hands of who calls Send.
//
// Tests: TestSlowConsumer, TestMemoryOfSlowConsumer, TestPresenceMemoryPausesReads, TestTimeoutsAfterPause,
// TestConsumerTooSlowForServer, TestUserTimeout, TestStreamForgetsBurst, TestBatchForgetsBurst, TestWriteBacklog,
// TestMessageTooBig, TestCompressedMessageTooBig, TestTopicEventsUnread.
//
// # Time
//
// Every wait has its end:
//
//	ConnectTimeout     a dial, from credentials to upgrade
//	ReplyTimeout       a join, a leave, and a push without a Timeout of its own
//	HeartbeatInterval  heartbeats are so far apart, whatever is received (rule 17); NoHeartbeat: there are none
//	HeartbeatTimeout   the answer to one; then the link is dropped, but while a join is under way not
//	                   before that has timed out (rule 10)
//	StableAfter        so long a session is up, with every channel joined, before its retries are forgotten
//
// Close waits two seconds for the server's close frame.
//
// Tests: TestHourOfHeartbeatsOnBusyChannel, TestNoHeartbeat, TestHalfOpenLink, TestSlowJoinIsNoDeadLink,
// TestCloseOfHalfOpenLink.
//
// # Retries
//
// After every end of a session that we did not ask for, close code 1000 included, the connection dials again and joins
// its channels again, once each (rule 13). So it does after a dial that failed. A channel that crashed or was closed
// by the server, or whose join timed out, is joined again (rules 8 and 9).
//
// MaxRetries bounds the retries in a row, of the dial and of each channel's join. Those of the dial are counted anew
// only when a session has been stable for StableAfter: accept-then-close is not hammered (rule 14). Those of a channel
// are when it has been joined for as long, and in a new session. Delays are jittered by default (rule 15), and a
// Retry-After is honoured.
//
// Not retried is a "no" that only other credentials or another address can change: an HTTP status below 500 other than
// 408 and 429, a certificate, an answer that is no WebSocket, a refused join; unless RetryRefusals is set (rule 16).
// With FailFast nothing is until every channel has been joined once. Never retried is a push.
//
// Tests: TestEveryLossReconnects, TestChannelLost, TestJoinTimeoutIsLeftAndRetried, TestAcceptThenClose, TestJittered,
// TestRefusedDials, TestRetryRefusedJoin, TestFailFast.
//
// # Many channels
//
// A server takes a hundred channels on one socket (PROTOCOL.md, section 4). A connection with more has further sockets, up to
// MaxChannelsPerSocket channels on each: one after the other is dialed, once the one before it has been up. Each is a session with a number
// of its own, and has its own heartbeats and retries; what is lost with one is joined again alone. Events are still in one stream, with one
// count, and those of a channel in the order of the wire. [Status] is that of the worst socket, and [Event.Socket] tells them apart. The
// connection is over when one of them is, for its reason. A further socket is closed when it has had no channels for 30 s.
//
// A join that is refused because the socket has too many channels is no JoinError: the channel is joined on another socket, and no more than
// that number on any from then on. A server that refuses so on a socket without channels is a JoinError.
//
// Tests: TestManyChannels, TestHundredChannels, TestServerHasRoomForFewer, TestServerHasNoRoom, TestPausedReadsOfManySockets,
// TestSocketsEndTogether, TestEmptySocketCloses, TestModelDealer.
//
// # Servers that add to the protocol
//
// What a server adds is an [Options.Dialect]: frames of further kinds, what the params of a join have to say, which refusals
// are final, and what a message of the server means for a channel. The connection knows no such server. Package supabase is
// the dialect of Supabase Realtime. A join that it holds is complete with [Live]; [Gap] says that messages may have been
// missed although the join stands. [Channel.Renew] pushes a new token before the old one expires, without a rejoin, and
// [Options.JoinInterval] paces the joins of a connection over all of its sockets.
//
// Tests: TestDialectFrames, TestDialectHolds, TestDialectDrops, TestDialectRefusals, TestDialectRefusesParams,
// TestJoinInterval, TestRenew.
//
// # Supervision
//
// A [Supervisor] runs many named connections. Of each name there is one run at a time, and what is asked of a name is
// done in the order in which it was asked. A connection that hangs, panics or gives up harms no other. A call returns
// at the latest when its context ends; what it began goes on. Stop leaves the channels, closes the link with 1000 and
// waits for the consumer: two seconds for the leaves and two for the close at most, plus the consumer's own time. A
// run that panics is started again after ReconnectAfter, MaxRetries times in a row at most. Seq and Session go on from
// run to run. Dials to one server are staggered; who dials alone does not wait. A stopped connection has no goroutine.
//
// Tests: TestConsumerHangs, TestCredentialsHang, TestPanicOfConsumer, TestSupervisorRetriesExhausted,
// TestStopOfHalfOpenLink, TestStopLeavesAllChannels, TestPanicsAfterStableRuns, TestSupervisorStartAndStop,
// TestDialTurns, TestDialAloneDoesNotWait, TestSupervisorLeavesNothingBehind.
//
// # Compatibility
//
// The package speaks vsn 2.0.0 and 1.0.0, and binary payloads with 2.0.0. It goes by what Phoenix was recorded to do
// on Bandit and on Cowboy (PROTOCOL.md, part 2). A frame that it cannot read is logged and dropped. Payloads are
// passed on as the bytes that they were; the package decodes none but those of presence.
//
// From the first release on, fields, options, event types and reasons are added, never changed or removed: a type
// switch over [Detail] and a switch over a reason want a default.
//
// Tests: TestVersion1, TestRepliesOfAnyKind, TestUnreadableFrames.
package phoenix
