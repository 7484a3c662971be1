// Package phoenixtest is a Phoenix-speaking server in process, as
// net/http/httptest is an HTTP server: the other side of every test of a
// Channels client, and the server behind `phx demo`.
//
// It shares no code with the client it judges. The WebSocket frames, the two
// serializers (vsn 1.0.0 and 2.0.0), the channel processes, PubSub and Presence
// are written here from what real servers were recorded to do; the recordings
// in testdata/transcripts are replayed against it.
//
//	srv := phoenixtest.NewServer(func(s *phoenixtest.Server) {
//		s.Mount("/socket", phoenixtest.UserSocket{
//			Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
//				OnIn: func(_ *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
//					return phoenixtest.OK(p) // echo
//				},
//			})},
//		})
//	})
//	defer srv.Close()
//	// dial srv.URL + "/websocket?vsn=2.0.0"
//
// # Vocabulary
//
// The words are Phoenix's. A [UserSocket] is a socket module: who may connect,
// and which channel serves which topic. A [Conn] is the transport process of one
// client: one WebSocket, or one long poll session. A [Channel] is the code of a channel; a [Socket] is what
// its callbacks get, the handle of one channel process, that is one joined topic
// of one client.
//
// # Concurrency and order
//
// A Conn is one goroutine that owns its joined channels and its half of the wire;
// a channel process is one goroutine that owns the state of its Channel. They talk
// through mailboxes. From this follows what Phoenix promises, and no more: the
// frames of one channel come in order; a join blocks its whole socket, heartbeats
// included; a broadcast goes straight to each transport, so that it comes before
// the reply that is returned after it; between two clients there is no order.
// Frames that arrive in one read are all handled before anything a channel answers
// to them is sent.
//
// One thing is settled here that Phoenix leaves to a race: a presence_diff comes
// where it came in the recordings, before the presence_state that follows a track,
// and after the reply to the push that caused an update.
//
// # Time
//
// [NewPipeServer] works on in-memory connections, so that server and client can live in
// one [testing/synctest] bubble, where an hour of heartbeats takes milliseconds. Make it
// and close it inside the bubble:
//
//	synctest.Test(t, func(t *testing.T) {
//		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
//		defer srv.Close()
//		dialer := websocket.Dialer{NetDialContext: srv.DialContext}
//		ws, _, err := dialer.Dial(srv.URL+"/websocket?vsn=2.0.0", nil)
//		...
//		time.Sleep(time.Hour)
//		synctest.Wait()
//	})
//
// Close waits for every goroutine of the server, which a bubble requires.
//
// # How to extend me
//
//   - A new behaviour of an application (refuse, crash, be slow): write it in a
//     test with [ChannelFuncs], or, if several packages want it, as an event of
//     the recorded application in the subpackage peer.
//   - A new behaviour of the link (closing, vanishing, silence): an order in
//     conn.go, a method of [Conn] that posts it to the transport's mailbox, and a
//     method of [Server] that calls it for all. Only the transport goroutine writes.
//   - A new fact about Phoenix: record it, put the transcript in
//     testdata/transcripts, name it in the table of transcript_test.go, see the
//     replay fail, then change handshake.go (who may connect), conn.go (joins,
//     leaves, pushes, the end of a socket), process.go (the life of a channel),
//     presence.go or pubsub.go. Long poll has the same transport process with
//     another link, longpoll.go.
//   - A difference between Bandit and Cowboy: a method of [Flavor], so that all
//     of them are found in one file, flavor.go.
//   - A new fact about Supabase Realtime, which is an application with a serializer of its own: the subpackage realtime, behind
//     [UserSocket.DecodeBinary], [Term] and [Socket.Deliver].
//   - A new vsn: a serializer in serializer.go, and a line in newSerializer.
//   - A new check of a client's frames: wsframe.go. The order of the checks decides
//     which close code a frame with two faults gets; the transcripts have it.
package phoenixtest
