package peer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"phx/phoenix/phoenixtest"
)

// documents are the GraphQL subscriptions of a server.
type documents struct {
	mu   sync.Mutex
	last int
	// of has the topics of the subscriptions to a field. A subscription whose channel has ended reaches no client.
	of map[string][]string
}

// absinthe is the channel __absinthe__:control as Absinthe has it (absinthe_phoenix, lib/absinthe/phoenix/channel.ex), with a
// schema in which every field is a subscription, and a mutation that publishes its variables to those who subscribed.
type absinthe struct{ documents *documents }

// Join implements [phoenixtest.Channel].
func (a *absinthe) Join(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
	if s.Topic() != "__absinthe__:control" {
		return nil, refuse("unmatched topic")
	}
	return nil, nil
}

// document is what the fake schema understands: an operation with one field.
var document = regexp.MustCompile(`^\s*(subscription|mutation)\b[^{]*\{\s*(\w+)`)

// HandleIn implements [phoenixtest.Channel]. "doc" is answered with {subscriptionId}, {data} or {errors}.
func (a *absinthe) HandleIn(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
	if event != "doc" {
		return phoenixtest.NoClause(event)
	}
	query := phoenixtest.Field(p, "query", "")
	found := document.FindStringSubmatch(query)
	switch {
	case found == nil:
		message := fmt.Sprintf("syntax error before: %q", strings.TrimSpace(query))
		return phoenixtest.Error(phoenixtest.Map{"errors": []phoenixtest.Map{{"message": message}}})
	case found[1] == "subscription":
		topic := a.documents.add(found[2])
		s.Subscribe(topic)
		return phoenixtest.OK(phoenixtest.Map{"subscriptionId": topic})
	}
	data := phoenixtest.Map{"data": phoenixtest.Map{found[2]: phoenixtest.Field(p, "variables", json.RawMessage("{}"))}}
	for _, topic := range a.documents.topics(found[2]) {
		s.Server().Broadcast(topic, "subscription:data", phoenixtest.Map{"result": data, "subscriptionId": topic})
	}
	return phoenixtest.OK(data)
}

// add returns the topic of a new subscription to a field.
func (d *documents) add(field string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	topic := fmt.Sprintf("__absinthe__:doc:%d:%s", d.last, field)
	if d.of == nil {
		d.of = map[string][]string{}
	}
	d.of[field] = append(d.of[field], topic)
	return topic
}

func (d *documents) topics(field string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of[field]
}
