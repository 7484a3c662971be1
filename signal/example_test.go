package signal_test

import (
	"fmt"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// One encoder a connection and format; one buffer for many lines.
func ExampleEncoder_Append() {
	enc := signal.NewEncoder(signal.FormatPayload, "backend")
	received := time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC)
	events := []phoenix.Event{
		{Time: received, Seq: 5, Session: 1, Topic: "room:lobby", Detail: &phoenix.Joining{Attempt: 1}},
		{Time: received, Seq: 6, Session: 1, Topic: "room:lobby", Name: "new_msg", Payload: phoenix.JSON(`{"body":"hi"}`), Detail: &phoenix.Message{}},
		{Time: received, Seq: 7, Session: 1, Topic: "room:lobby", Name: "photo", Payload: phoenix.Binary([]byte("bytes")), Detail: &phoenix.Message{}},
	}
	var chunk []byte
	for i := range events {
		chunk = enc.Append(chunk, &events[i])
	}
	fmt.Printf("%s", chunk)
	// Output:
	// {"body":"hi"}
	// "Ynl0ZXM="
}

// The default format has all there is to know. Its id differs from run to run.
func ExampleEncoder_Append_signal() {
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	line := enc.Append(nil, &phoenix.Event{
		Time:    time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC),
		Seq:     6,
		Session: 1,
		Topic:   "room:lobby",
		Name:    "new_msg",
		Payload: phoenix.JSON(`{"body":"hi"}`),
		Detail:  &phoenix.Message{},
	})
	fmt.Print(withoutID(line))
	// Output:
	// {"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.backend.room_lobby.new_msg","subject":"room:lobby","time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"payload":{"body":"hi"}},"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new_msg","session":1,"seq":6}}
}

// A line break has no place in a CloudEvents attribute: topic and event are percent-encoded, and phxenc says so.
func ExampleEncoder_Append_cloudEvents() {
	enc := signal.NewEncoder(signal.FormatCloudEvents, "backend")
	ev := phoenix.Event{
		Time:    time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC),
		Seq:     6,
		Session: 1,
		Topic:   "room:lobby",
		Name:    "new_msg",
		Payload: phoenix.JSON(`{"body":"hi"}`),
		Detail:  &phoenix.Message{},
	}
	fmt.Print(withoutID(enc.Append(nil, &ev)))
	ev.Topic, ev.Name = "100%", "new\nmsg"
	fmt.Print(withoutID(enc.Append(nil, &ev)))
	// Output:
	// {"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.backend.room_lobby.new_msg","subject":"room:lobby","time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"payload":{"body":"hi"}},"phxconnection":"backend","phxtopic":"room:lobby","phxevent":"new_msg","phxsession":1,"sequence":"0000000006"}
	// {"specversion":"1.0","id":"ID","source":"/jidoka/phoenix/backend","type":"phoenix.backend.100_.new_msg","subject":"100%25","time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"payload":{"body":"hi"}},"phxconnection":"backend","phxtopic":"100%25","phxevent":"new%0Amsg","phxenc":"pct","phxsession":1,"sequence":"0000000006"}
}

func ExampleType() {
	fmt.Println(signal.Type("backend", &phoenix.Event{Topic: "room:lobby", Name: "user.typing", Detail: &phoenix.Message{}}))
	fmt.Println(signal.Type("backend", &phoenix.Event{Topic: "room:lobby", Detail: &phoenix.Joined{}}))
	// Output:
	// phoenix.backend.room_lobby.user_typing
	// phoenix.channel.joined
}

func ExampleBusTopics() {
	fmt.Println(signal.BusTopics("backend", "room:lobby"))
	// Output:
	// [jido.protocol.phoenix.backend jido.protocol.phoenix.backend.room_lobby]
}

func ExampleParseFormat() {
	_, err := signal.ParseFormat("yaml")
	fmt.Println(err)
	// Output:
	// unknown format "yaml"; there are: signal, cloudevents, jido, payload
}

func ExampleCheckName() {
	fmt.Println(signal.CheckName("phoenix_backend"))
	fmt.Println(signal.CheckName("channel"))
	// Output:
	// <nil>
	// connection name "channel" is reserved; so are: connection, channel, push, signal, presence
}
