package realtime

import (
	"time"

	"phx/phoenix/phoenixtest"
)

// A channel is one joined topic of one client (lib/realtime_web/channels/realtime_channel.ex). Its goroutine owns it, but for what others look at.
type channel struct {
	project *Project
	sock    *phoenixtest.Socket
	name    string // the topic without realtime:
	params  joinParams
	token   string
	claims  claims
	// tokenTimer and postgresTimer count how often a timer was set: what an earlier one brings is dropped.
	tokenTimer, postgresTimer int
	policy                    Policy
	replicationDeadline       time.Time

	presenceCalls int
	presenceReset time.Time
	trackedMeta   []byte

	// Set before the channel is among those of the project, and never changed.
	v1            bool
	place         place
	presenceKey   string
	subscriptions []subscription
	replayed      map[string]bool

	// Guarded by the mutex of the project.
	presenceRead bool
	live         bool // changes of Postgres come
}

// What a channel sends itself, or is sent by the project.
type (
	tokenDue         struct{ timer int }
	postgresDue      struct{ timer int } // 0: the first subscription, which nothing makes void
	postgresDown     struct{}
	replicationCheck struct{}
	syncPresence     struct{}
	replay           struct{ messages []stored }
	system           struct{ extension, status, message string }
	shutdown         struct{ message string }
)

// Join implements [phoenixtest.Channel].
func (ch *channel) Join(s *phoenixtest.Socket, payload phoenixtest.Payload) (any, error) {
	response, err := ch.join(s, payload)
	ch.project.saw(s, "", payload, err != nil)
	if err == nil {
		return response, nil
	}
	if disconnects(err.Error()) {
		s.Conn().Close(1001) // behind the reply
	}
	s.Sleep(ch.project.cfg.JoinBackoff)
	return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": err.Error()})
}

func (ch *channel) join(s *phoenixtest.Socket, payload phoenixtest.Payload) (any, error) {
	p := ch.project
	ch.sock, ch.name = s, topicName(s.Topic())
	ch.v1 = s.Conn().Serializer() == "Phoenix.Socket.V1.JSONSerializer"
	if ch.name == "" {
		return nil, joinError(reasonOf("TopicNameRequired"))
	}
	var err error
	if ch.params, err = parseJoin(payload); err != nil {
		return nil, err
	}
	if err := p.mayJoin(s.Conn(), ch.name); err != nil {
		return nil, err
	}
	ch.place = place{ch.name, ch.params.private}
	ch.token = ch.params.token
	if connection := tokenOf(s.Conn().Info()); ch.token == "" || isKey(ch.token) {
		ch.token = connection
	}
	if ch.claims, err = ch.confirm(ch.token); err != nil {
		return nil, err
	}
	ch.policy = p.policyOf(ch.claims, ch.place)
	ch.presenceRead = ch.params.presence
	if !ch.policy.Read {
		return nil, joinError("Unauthorized: " + noRead + ch.name)
	}
	messages, err := ch.toReplay()
	if err != nil {
		return nil, err
	}
	if ch.presenceKey = ch.params.presenceKey; ch.presenceKey == "" {
		ch.presenceKey = p.newKey()
	}
	ch.subscriptions = newSubscriptions(ch.params, ch.name)
	p.add(ch)
	ch.begin(messages)
	return phoenixtest.Map{"postgres_changes": subscriptionsReply(p.asReported(ch.subscriptions))}, nil
}

// confirm is checkToken for a join, and sets when the token is looked at again.
func (ch *channel) confirm(token string) (claims, error) {
	c, failed := checkToken(ch.project.cfg.Secret, token)
	if failed != nil {
		return claims{}, failed
	}
	ch.watchToken(c)
	return c, nil
}

// watchToken looks at the token again after [Config.TokenCheck], or at its end.
func (ch *channel) watchToken(c claims) {
	wait := ch.project.cfg.TokenCheck
	if !c.exp.IsZero() {
		wait = min(wait, time.Duration(c.exp.Unix()-time.Now().Unix())*time.Second)
	}
	ch.tokenTimer++
	ch.sock.SendAfter(wait, tokenDue{ch.tokenTimer})
}

// toReplay is what the join has replayed, and notes its ids.
func (ch *channel) toReplay() ([]stored, error) {
	asked := ch.params.replay
	switch {
	case asked == nil:
		return nil, nil
	case !ch.place.private:
		return nil, joinError("UnableToReplayMessages: Replay is not allowed for public channels")
	case !asked.valid:
		return nil, joinError("UnableToReplayMessages: Replay params are not valid")
	}
	messages := ch.project.replayOf(ch.name, *asked)
	ch.replayed = map[string]bool{}
	for _, m := range messages {
		ch.replayed[m.id] = true
	}
	return messages, nil
}

// begin starts what follows the reply.
func (ch *channel) begin(messages []stored) {
	if ch.params.replay != nil {
		ch.sock.Send(replay{messages})
	}
	if len(ch.subscriptions) > 0 {
		ch.sock.SendAfter(ch.project.cfg.SubscribeAfter, postgresDue{})
	}
	if ch.params.replicationReady {
		ch.replicationDeadline = time.Now().Add(ch.project.cfg.ReplicationTimeout)
		ch.sock.Send(replicationCheck{})
	}
	if ch.params.presence {
		ch.sock.Send(syncPresence{})
	}
}

// Terminate implements [phoenixtest.Terminator].
func (ch *channel) Terminate(*phoenixtest.Socket) {
	left := ch.project.untrack(ch)
	ch.project.remove(ch)
	ch.project.tellPresence(ch.place, nil, left)
}

// HandleIn implements [phoenixtest.Channel]. What is not known gets no reply, ever.
func (ch *channel) HandleIn(s *phoenixtest.Socket, event string, payload phoenixtest.Payload) phoenixtest.Result {
	ch.project.saw(s, event, payload, false)
	switch event {
	case "broadcast":
		return ch.handleBroadcast(payload)
	case "presence":
		return ch.handlePresence(payload)
	case "access_token":
		return ch.handleToken(objectOf(payload.Bytes()).text("access_token"))
	}
	return phoenixtest.NoReply()
}

// handleToken takes another token. A key, null and the same token are ignored.
func (ch *channel) handleToken(token string) phoenixtest.Result {
	if token == "" || isKey(token) || token == ch.token {
		return phoenixtest.NoReply()
	}
	c, failed := checkToken(ch.project.cfg.Secret, token)
	if failed != nil {
		return ch.shutdown(failed.system)
	}
	ch.token, ch.claims = token, c
	ch.watchToken(c)
	if ch.policy = ch.project.policyOf(c, ch.place); !ch.policy.Read {
		return ch.shutdown(noRead + ch.name)
	}
	if len(ch.subscriptions) > 0 {
		ch.subscribeAfter(ch.project.cfg.ResubscribeAfter)
	}
	return phoenixtest.NoReply()
}

// HandleInfo implements [phoenixtest.InfoHandler].
func (ch *channel) HandleInfo(_ *phoenixtest.Socket, msg any) phoenixtest.Result {
	switch msg := msg.(type) {
	case tokenDue:
		if msg.timer != ch.tokenTimer {
			break
		}
		c, failed := checkToken(ch.project.cfg.Secret, ch.token)
		if failed != nil {
			return ch.shutdown(failed.system)
		}
		ch.watchToken(c)
	case postgresDue:
		if msg.timer == 0 || msg.timer == ch.postgresTimer {
			ch.subscribePostgres()
		}
	case postgresDown:
		ch.subscribeAfter(ch.project.cfg.ResubscribeAfter)
	case replicationCheck:
		return ch.checkReplication()
	case syncPresence:
		ch.syncPresence()
	case replay:
		ch.replay(msg.messages)
	case system:
		ch.system(msg.extension, msg.status, msg.message)
	case shutdown:
		return ch.shutdown(msg.message)
	}
	return phoenixtest.NoReply()
}

// replicationInterval is how often a channel looks whether the replication connection is there.
const replicationInterval = 500 * time.Millisecond

func (ch *channel) checkReplication() phoenixtest.Result {
	switch {
	case ch.project.replicates():
		ch.system("system", "ok", "Replication connection established")
	case !time.Now().Before(ch.replicationDeadline):
		return ch.shutdown("Replication connection was not established in time")
	default:
		ch.sock.SendAfter(replicationInterval, replicationCheck{})
	}
	return phoenixtest.NoReply()
}

// subscribeAfter subscribes to Postgres again after d, and at no other time that was set before.
func (ch *channel) subscribeAfter(d time.Duration) {
	ch.postgresTimer++
	ch.sock.SendAfter(d, postgresDue{ch.postgresTimer})
}

func (ch *channel) setLive(live bool) {
	ch.project.mu.Lock()
	defer ch.project.mu.Unlock()
	ch.live = live
}

// system sends a system message.
func (ch *channel) system(extension, status, message string) {
	ch.sock.Push("system", phoenixtest.Map{
		"channel":   ch.name,
		"extension": extension,
		"status":    status,
		"message":   message,
	})
}

// shutdown ends the channel with a system message, and a phx_close behind it.
func (ch *channel) shutdown(message string) phoenixtest.Result {
	ch.system("system", "error", message)
	return phoenixtest.Stop("normal")
}
