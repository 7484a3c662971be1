package phoenixtest_test

import (
	"fmt"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
)

func ExampleNewServer() {
	srv := phoenixtest.NewServer(func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{
			Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
				OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
					return phoenixtest.OK(p) // echo
				},
			})},
		})
	})
	defer srv.Close()

	ws, _, err := websocket.DefaultDialer.Dial(srv.URL+"/websocket?vsn=2.0.0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.Close()
	for _, message := range []string{`["1","1","room:1","phx_join",{}]`, `["1","2","room:1","anything",{"n":1.0}]`} {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
			fmt.Println(err)
			return
		}
		_, answer, err := ws.ReadMessage()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(answer))
	}
	// Output:
	// ["1","1","room:1","phx_reply",{"response":{},"status":"ok"}]
	// ["1","2","room:1","phx_reply",{"response":{"n":1.0},"status":"ok"}]
}
