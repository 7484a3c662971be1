package realtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// A tracked presence is the meta of one channel.
type tracked struct {
	owner *channel
	key   string
	meta  json.RawMessage
	ref   string
}

// The limit of what one client may track and untrack, per channel.
const (
	maxPresenceCalls = 5
	presenceWindow   = 30 * time.Second
)

// handlePresence handles the event presence of a client (lib/realtime_web/channels/realtime_channel/presence_handler.ex).
func (ch *channel) handlePresence(payload phoenixtest.Payload) phoenixtest.Result {
	asked := objectOf(payload.Bytes())
	if asked["event"] == nil {
		return phoenixtest.OK(nil)
	}
	if now := time.Now(); now.After(ch.presenceReset) {
		ch.presenceCalls, ch.presenceReset = 0, now.Add(presenceWindow)
	}
	if ch.presenceCalls++; ch.presenceCalls > maxPresenceCalls {
		return ch.shutdown("Client presence rate limit exceeded")
	}
	switch strings.ToLower(asked.text("event")) {
	case "track":
		return ch.track(asked["payload"])
	case "untrack":
		ch.trackedMeta = nil
		return ch.answerAndTell(nil, ch.project.untrack(ch))
	}
	return phoenixtest.Error(nil)
}

func (ch *channel) track(meta json.RawMessage) phoenixtest.Result {
	if meta == nil {
		meta = json.RawMessage("{}")
	}
	switch {
	case ch.place.private && !ch.policy.Write:
		return phoenixtest.Error(nil)
	case objectOf(meta) == nil:
		return phoenixtest.Error(phoenixtest.Map{"reason": "Presence track payload must be a map"})
	case bytes.Equal(meta, ch.trackedMeta):
		return phoenixtest.OK(nil)
	case len(meta) > ch.project.cfg.MaxPayload:
		return ch.shutdown("Track message size exceeded")
	}
	ch.trackedMeta = meta
	joined, left := ch.project.track(ch, meta)
	return ch.answerAndTell(joined, left)
}

// answerAndTell answers a push, and tells all who may know what has changed by it.
func (ch *channel) answerAndTell(joined, left *tracked) phoenixtest.Result {
	ch.sock.Reply(ch.sock.Ref(), "ok", nil)
	ch.project.tellPresence(ch.place, joined, left)
	return phoenixtest.NoReply()
}

// track adds the meta of a channel, or replaces it.
func (p *Project) track(ch *channel, meta json.RawMessage) (joined, left *tracked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastPresence++
	joined = &tracked{owner: ch, key: ch.presenceKey, ref: fmt.Sprintf("phx-%d", p.lastPresence)}
	refs := fmt.Sprintf(`"phx_ref":%q`, joined.ref)
	ch.presenceRead = true
	if left = p.removePresence(ch); left != nil {
		refs += fmt.Sprintf(`,"phx_ref_prev":%q`, left.ref)
	}
	joined.meta = prepend(refs, meta)
	p.presences[ch.place] = append(p.presences[ch.place], joined)
	return joined, left
}

// prepend adds members to the text of a JSON object, before those that it has.
func prepend(members string, object json.RawMessage) json.RawMessage {
	rest := bytes.TrimSpace(bytes.TrimSpace(object)[1:])
	if rest[0] != '}' {
		members += ","
	}
	return append(json.RawMessage("{"+members), rest...)
}

// untrack removes the meta of a channel; nil: there was none.
func (p *Project) untrack(ch *channel) *tracked {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.removePresence(ch)
}

func (p *Project) removePresence(ch *channel) *tracked {
	all := p.presences[ch.place]
	i := slices.IndexFunc(all, func(t *tracked) bool { return t.owner == ch })
	if i < 0 {
		return nil
	}
	left := all[i]
	p.presences[ch.place] = slices.Delete(all, i, i+1)
	return left
}

// tellPresence sends a presence_diff to everybody in a place who may read presences. On a public topic that is everybody, whether presence is enabled in
// the join or not.
func (p *Project) tellPresence(in place, joined, left *tracked) {
	if joined == nil && left == nil {
		return
	}
	diff := phoenixtest.JSON(phoenixtest.Map{"joins": presenceState(joined), "leaves": presenceState(left)})
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.places[in] {
		if !in.private || ch.presenceRead {
			ch.sock.Deliver("presence_diff", diff)
		}
	}
}

// presenceState is the metas of each key.
func presenceState(all ...*tracked) phoenixtest.Map {
	metas := map[string][]json.RawMessage{}
	for _, t := range all {
		if t != nil {
			metas[t.key] = append(metas[t.key], t.meta)
		}
	}
	state := phoenixtest.Map{}
	for key, list := range metas {
		state[key] = phoenixtest.Map{"metas": list}
	}
	return state
}

// syncPresence sends the state to a client that has asked for it in its join.
func (ch *channel) syncPresence() {
	ch.project.mu.Lock()
	state := presenceState(ch.project.presences[ch.place]...)
	ch.project.mu.Unlock()
	ch.sock.Push("presence_state", state)
}
