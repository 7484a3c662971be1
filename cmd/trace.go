package cmd

import (
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"sync"

	"phx/cmd/config"
	"phx/phoenix"
)

// newTracer returns what writes every frame to w, in the format of the log, with the name of the connection if that is not empty.
// It is safe for concurrent use.
func newTracer(w io.Writer, format, connection string) func(phoenix.TraceFrame) {
	var mu sync.Mutex
	if format == config.LogJSON {
		log := slog.New(slog.NewJSONHandler(jsonEscaper{w}, nil))
		if connection != "" {
			log = log.With("connection", connection)
		}
		return func(f phoenix.TraceFrame) {
			log.Info("frame", "out", f.Out, "kind", f.Kind, "data", string(withoutSecrets(f)))
		}
	}
	return func(f phoenix.TraceFrame) {
		direction := "< "
		if f.Out {
			direction = "> "
		}
		line := append([]byte(linePrefix), direction...)
		if connection != "" {
			line = append(append(line, connection...), ' ')
		}
		line = append(line, f.Kind...)
		line = append(line, ' ')
		line = append(appendVisible(line, string(withoutSecrets(f))), '\n')
		mu.Lock()
		defer mu.Unlock()
		// A trace that cannot be written has nowhere to say so.
		_, _ = w.Write(line)
	}
}

// secretEvents are those whose payloads from us hold credentials: join params, and the token refresh of Supabase.
var secretEvents = []string{"phx_join", "access_token"}

// hidden stands in a trace for a payload with credentials.
var hidden = json.RawMessage(`"(not shown)"`)

// withoutSecrets returns the data of a frame with the payload hidden where it holds credentials of ours.
func withoutSecrets(f phoenix.TraceFrame) []byte {
	if !f.Out || f.Kind != "text" {
		return f.Data
	}
	if v2 := []json.RawMessage(nil); json.Unmarshal(f.Data, &v2) == nil && len(v2) == 5 {
		if !isSecretEvent(v2[3]) {
			return f.Data
		}
		v2[4] = hidden
		return marshal(v2)
	}
	v1 := map[string]json.RawMessage{}
	if json.Unmarshal(f.Data, &v1) == nil && v1["event"] != nil {
		if !isSecretEvent(v1["event"]) {
			return f.Data
		}
		v1["payload"] = hidden
		return marshal(v1)
	}
	return hidden
}

func isSecretEvent(name json.RawMessage) bool {
	var event string
	return json.Unmarshal(name, &event) != nil || slices.Contains(secretEvents, event)
}

// marshal encodes what was just decoded.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return hidden
	}
	return data
}
