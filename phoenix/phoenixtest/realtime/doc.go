// Package realtime is Supabase Realtime as an application of [phoenixtest.Server]: Phoenix Channels with a serializer, topics, tokens and
// limits of its own. It was written from the published sources of the server, v2.129.8, whose file is named where a fact is from one.
//
//	project := realtime.New(realtime.Config{})
//	srv := phoenixtest.NewServer(project.App(), phoenixtest.WithFlavor(phoenixtest.Cowboy))
//	defer srv.Close()
//	// dial srv.URL + "/websocket?vsn=2.0.0&apikey=" + realtime.NewToken("anon", time.Now().Add(time.Hour))
//
// # What there is
//
// A [Project] is one tenant. Its socket is mounted at /realtime/v1, where the gateway of Supabase has it, and at /socket, where Realtime itself
// has it. Topics are realtime:NAME. A join asks for broadcasts, presence and changes of Postgres in its config (join.go); a broadcast goes to
// the others of the topic, as a frame of kind 4 or as text (broadcast.go, serializer.go); a token is checked when it comes, each five minutes and
// when it ends (token.go, channel.go); a refused join takes five seconds and holds up its socket (refusals.go).
//
// There is no database. What comes from one is made by [Project.Send], by [Project.Change], or over HTTP (rest.go): by the two routes that Realtime
// has for broadcasts, and by a few that stand for PostgREST.
//
//	curl -H "apikey: $KEY" -d '{"messages":[{"topic":"room1","event":"new_msg","payload":{"body":"hi"}}]}' $URL/realtime/v1/api/broadcast
//	curl -H "apikey: $KEY" -d '{"body":"hi"}' -H 'Content-Type: application/json' $URL/realtime/v1/api/broadcast/room1/events/new_msg
//	curl -H "apikey: $KEY" -d '{"topic":"room1","event":"new_msg","payload":{"body":"hi"},"private":true}' $URL/rest/v1/rpc/send
//	curl -H "apikey: $KEY" -d '{"id":1,"text":"buy milk"}' $URL/rest/v1/todos
//
// Row level security is a function of the role and the topic, [Config.Policy]. Unless one is given, the role "readonly" may not write, and the role
// "nobody" may do nothing.
//
// A join of realtime:refuse-CODE is refused as the code of [Refusals] says. Whatever else can go wrong is a method of Project.
//
// # Differences
//
// The rates that Realtime measures over a minute are counted over a second here. What waits a random time there waits a fixed one here. Of the limits
// per second only that of joins is counted; the others are messages that [Project.Shutdown] makes.
package realtime
