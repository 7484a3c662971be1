package router_test

import (
	"context"
	"fmt"
	"os"

	"phx/phoenix"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

// The messages of rooms go to stdout, of whichever connection.
func ExampleRouter() {
	rooms, err := glob.Compile("room:*")
	if err != nil {
		fmt.Println(err)
		return
	}
	r := router.New(nil)
	stdout := router.NewSink(router.SinkOptions{
		Name: "stdout", Format: signal.FormatPayload, Bytes: 64 << 20, Policy: router.DropOldest, Drain: router.WriterDrain(os.Stdout),
	})
	err = r.Apply([]*router.Sink{stdout}, []router.Route{
		{Filter: router.Filter{Topic: []glob.Glob{rooms}}, To: []string{"stdout"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	publisher := r.Publisher("backend") // what consumes the events of the connection has one
	publisher.Publish(&phoenix.Event{Seq: 1, Topic: "room:lobby", Name: "new_msg", Payload: phoenix.JSON(`{"body":"hi"}`), Detail: &phoenix.Message{}})
	publisher.Publish(&phoenix.Event{Seq: 2, Topic: "user:123", Name: "new_msg", Payload: phoenix.JSON(`{"body":"ho"}`), Detail: &phoenix.Message{}})
	publisher.Flush()

	if err := r.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// {"body":"hi"}
}

func ExampleCompilePattern() {
	pattern, err := router.CompilePattern("phoenix.backend.**")
	fmt.Println(pattern.Match("phoenix.backend.room_lobby.new_msg"), pattern.Match("phoenix.channel.joined"), err)
	_, err = router.CompilePattern("phoenix.backend.room:lobby.*")
	fmt.Println(err)
	// Output:
	// true false <nil>
	// segment "room:lobby" of the pattern "phoenix.backend.room:lobby.*" matches nothing: in types and bus topics every character but letters, digits, _ and - is replaced by _
}
