package realtime

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"phx/phoenix/phoenixtest"
)

// handleBroadcasts serves the two routes with which others than clients broadcast (lib/realtime_web/router.ex): a batch, and a single one.
func (p *Project) handleBroadcasts(s *phoenixtest.Server, base string) {
	s.Handle("POST "+base+"/api/broadcast", p.authorized(func(w http.ResponseWriter, r *http.Request, body []byte) {
		var batch struct {
			Messages []struct {
				Topic, Event string
				Payload      json.RawMessage
				Private      bool
			}
		}
		if json.Unmarshal(body, &batch) != nil || len(batch.Messages) == 0 {
			answer(w, http.StatusUnprocessableEntity, phoenixtest.Map{"errors": phoenixtest.Map{"messages": []string{"can't be blank"}}})
			return
		}
		for _, m := range batch.Messages {
			if m.Topic == "" || m.Event == "" || objectOf(m.Payload) == nil {
				answer(w, http.StatusUnprocessableEntity, phoenixtest.Map{"errors": phoenixtest.Map{"messages": []string{"is invalid"}}})
				return
			}
		}
		for _, m := range batch.Messages {
			if p.mayWrite(r, m.Topic, m.Private) {
				p.BroadcastText(m.Topic, m.Event, phoenixtest.RawJSON(string(m.Payload)), m.Private)
			}
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	s.Handle("POST "+base+"/api/broadcast/{topic}/events/{event}", p.authorized(func(w http.ResponseWriter, r *http.Request, body []byte) {
		payload := phoenixtest.Binary(body)
		switch contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); {
		case contentType == "application/octet-stream":
		case contentType != "application/json":
			answer(w, http.StatusUnsupportedMediaType, phoenixtest.Map{"message": "Unsupported Media Type"})
			return
		case !json.Valid(body):
			answer(w, http.StatusBadRequest, phoenixtest.Map{"message": "Bad Request"})
			return
		default:
			payload = phoenixtest.RawJSON(string(body))
		}
		topic, private := r.PathValue("topic"), r.URL.Query().Get("private") == "true"
		if p.mayWrite(r, topic, private) {
			p.Broadcast(topic, r.PathValue("event"), payload, private)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
}

// handleRest serves what stands for PostgREST: the function realtime.send; and of any table of the schema public inserts, updates and deletes, which
// nothing is kept of. An update or a delete is of the one row that its query describes, such as id=eq.1.
func (p *Project) handleRest(s *phoenixtest.Server) {
	s.Handle("POST /rest/v1/rpc/send", p.authorized(func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var call struct {
			Topic, Event string
			Payload      json.RawMessage
			Private      *bool
		}
		if json.Unmarshal(body, &call) != nil || call.Topic == "" || call.Event == "" || objectOf(call.Payload) == nil {
			answer(w, http.StatusBadRequest, phoenixtest.Map{"message": "send(payload, event, topic, private) is what there is"})
			return
		}
		private := call.Private == nil || *call.Private
		p.Send(call.Topic, call.Event, phoenixtest.RawJSON(string(call.Payload)), private)
		w.WriteHeader(http.StatusNoContent)
	}))
	table := func(f func(w http.ResponseWriter, r *http.Request, rows []phoenixtest.Map)) http.HandlerFunc {
		return p.authorized(func(w http.ResponseWriter, r *http.Request, body []byte) {
			var rows []phoenixtest.Map
			if text := strings.TrimSpace(string(body)); !strings.HasPrefix(text, "[") {
				body = []byte("[" + text + "]")
			}
			decoder := json.NewDecoder(strings.NewReader(string(body)))
			decoder.UseNumber() // the digits stay as they are
			if decoder.Decode(&rows) != nil {
				answer(w, http.StatusBadRequest, phoenixtest.Map{"message": "Empty or invalid json"})
				return
			}
			f(w, r, rows)
		})
	}
	s.Handle("POST /rest/v1/{table}", table(func(w http.ResponseWriter, r *http.Request, rows []phoenixtest.Map) {
		for _, row := range rows {
			p.Change(Change{Type: "INSERT", Schema: "public", Table: r.PathValue("table"), Record: row})
		}
		w.WriteHeader(http.StatusCreated)
	}))
	s.Handle("PATCH /rest/v1/{table}", table(func(w http.ResponseWriter, r *http.Request, rows []phoenixtest.Map) {
		for _, changed := range rows {
			old, row := described(r), described(r)
			for column, value := range changed {
				row[column] = value
			}
			p.Change(Change{Type: "UPDATE", Schema: "public", Table: r.PathValue("table"), Record: row, Old: old})
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	s.Handle("DELETE /rest/v1/{table}", table(func(w http.ResponseWriter, r *http.Request, _ []phoenixtest.Map) {
		p.Change(Change{Type: "DELETE", Schema: "public", Table: r.PathValue("table"), Old: described(r)})
		w.WriteHeader(http.StatusNoContent)
	}))
}

// described is the row that a query COLUMN=eq.VALUE describes. A value that is JSON is that.
func described(r *http.Request) phoenixtest.Map {
	row := phoenixtest.Map{}
	for column, values := range r.URL.Query() {
		text, ok := strings.CutPrefix(values[0], "eq.")
		switch {
		case !ok:
		case json.Valid([]byte(text)):
			row[column] = json.RawMessage(text)
		default:
			row[column] = text
		}
	}
	return row
}

// maxBody is what Plug reads of a body.
const maxBody = 8_000_000

// authorized reads the body of a request with a good token (lib/realtime_web/plugs/auth_tenant.ex).
func (p *Project) authorized(f func(w http.ResponseWriter, r *http.Request, body []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, failed := checkToken(p.cfg.Secret, requestToken(r)); failed != nil {
			answer(w, http.StatusUnauthorized, phoenixtest.Map{"message": "Unauthorized"})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, phoenixtest.Map{"message": "Request Entity Too Large"})
			return
		}
		f(w, r, body)
	}
}

// requestToken is that of a request: a bearer's, or else the header apikey.
func requestToken(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return token
	}
	return r.Header.Get("Apikey")
}

// mayWrite tells whether who sends a request may broadcast. One who may not is not told.
func (p *Project) mayWrite(r *http.Request, topic string, private bool) bool {
	c, failed := checkToken(p.cfg.Secret, requestToken(r))
	return failed == nil && p.policyOf(c, place{topic, private}).Write
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(phoenixtest.JSON(v).Bytes()) // it fails when the client is gone already
}
