package peer

import (
	"encoding/json"
	"net/http"

	"phx/phoenix/phoenixtest"
)

const jsonType = "application/json; charset=utf-8"

// routes are the recorded application's plain HTTP routes.
func routes(s *phoenixtest.Server) {
	s.Handle("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = w.Write([]byte("ok")) // it fails when the client is gone already
	})
	s.Handle("POST /broadcast", func(w http.ResponseWriter, r *http.Request) { broadcast(s, w, r) })
	s.Handle("POST /disconnect", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ ID string }
		if !decode(w, r, &body) {
			return
		}
		s.Disconnect(body.ID)
		answer(w, phoenixtest.Map{"ok": true})
	})
	s.Handle("GET /subscribers", func(w http.ResponseWriter, r *http.Request) {
		answer(w, phoenixtest.Map{"subscribers": s.Subscribers(r.URL.Query().Get("topic"))})
	})
	s.Handle("GET /redirect/websocket", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("Location", "/socket/websocket?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
}

// broadcast sends {"topic","event","payload"} n times; {"__base64__":"..."} as payload is
// a binary one.
func broadcast(s *phoenixtest.Server, w http.ResponseWriter, r *http.Request) {
	body := struct {
		Topic, Event string
		Payload      json.RawMessage
		N            int
	}{Payload: json.RawMessage("{}"), N: 1}
	if !decode(w, r, &body) {
		return
	}
	payload := phoenixtest.RawJSON(string(body.Payload))
	var binary struct {
		Data *[]byte `json:"__base64__"`
	}
	if json.Unmarshal(body.Payload, &binary) == nil && binary.Data != nil {
		payload = phoenixtest.Binary(*binary.Data)
	}
	for range body.N {
		s.Broadcast(body.Topic, body.Event, payload)
	}
	answer(w, phoenixtest.Map{"ok": true, "subscribers": s.Subscribers(body.Topic)})
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(phoenixtest.JSON(v).Bytes()) // it fails when the client is gone already
}
