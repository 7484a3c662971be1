package phoenix

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// replayed are the transcripts that are replayed, by name, in each directory that has one.
var replayed = strings.Fields(`
	auth_token binary_broadcast binary_join binary_push binary_reply broadcast client_close_bad_code client_close_codes
	client_sends_reserved_events compress connect_flaky connect_heartbeat crash drain_sigterm flood_small fragmented_text
	heartbeat_odd http_errors idle_timeout idle_timeout_ping_keeps_alive idle_timeout_server_pushes invalid_utf8 join_crash
	join_double join_error join_flaky_retry join_greet join_integer_refs join_null_join_ref join_ok join_params
	join_payload_not_a_map join_pipelined join_ref_differs_from_ref join_slow join_unmatched_topic kick kick_by_http
	kill_transport large_frames large_server_push leave leave_join_pipelined leave_then_push malformed_binary_empty
	malformed_binary_junk malformed_binary_kind1 malformed_binary_short malformed_duplicate_keys malformed_empty
	malformed_event_null malformed_extra_keys malformed_heartbeat_unjoined_null_topic malformed_json_null
	malformed_json_number malformed_json_string malformed_long_array malformed_missing_event malformed_missing_payload
	malformed_missing_ref malformed_not_json malformed_short_array malformed_topic_number malformed_wrong_container
	max_frame_size origin presence push_delayed_and_order push_delayed_then_leave push_noreply push_not_joined push_null_ref
	push_reply_error push_reply_odd push_reply_ok push_same_ref_twice push_stale_join_ref push_unhandled_event
	raise_transport refused reserved_bit reserved_opcode server_push stop stop_reply too_many_channels unmasked_frame
	v1_binary_frame v1_binary_server_push v1_text_in_binary_frame vsn whoami ws_ping`)

// notReplayed says why of the others.
var notReplayed = map[string]string{
	"longpoll_auth_token":     noLongPoll,
	"longpoll_basic":          noLongPoll,
	"longpoll_batch":          noLongPoll,
	"longpoll_batch_over_100": noLongPoll,
	"longpoll_binary":         noLongPoll,
	"longpoll_broadcast":      noLongPoll,
	"longpoll_errors":         noLongPoll,
	"longpoll_expired":        noLongPoll,
	"longpoll_header_token":   noLongPoll,
	"longpoll_kick":           noLongPoll,
	"longpoll_malformed":      noLongPoll,
}

const noLongPoll = "the client has no long poll yet"

// transcriptFiles returns the recordings of servers, and fails for one that no table names, and for a name without any.
func transcriptFiles(t *testing.T) (files []string) {
	t.Helper()
	missing := slices.Concat(replayed, slices.Collect(maps.Keys(notReplayed)))
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		found, err := filepath.Glob(filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "*.ndjson"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no transcripts of %s: they are part of the project (error %v)", dir, err)
		}
		for _, file := range found {
			name := strings.TrimSuffix(filepath.Base(file), ".ndjson")
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
			switch {
			case slices.Contains(replayed, name):
				files = append(files, file)
			case notReplayed[name] == "":
				t.Errorf("%s is neither replayed, nor does a table say why not", path.Join(dir, name))
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("there are no transcripts %v", missing)
	}
	return files
}

// readTranscript returns the lines of each connection. Requests that are not for a socket, and notes, are not among them.
func readTranscript(t *testing.T, file string) map[string][]*transcriptLine {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	conns := map[string][]*transcriptLine{}
	for line := range bytes.Lines(text) {
		l := &transcriptLine{}
		if err := json.Unmarshal(line, l); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if l.Dir != "note" {
			conns[string(l.Conn)] = append(conns[string(l.Conn)], l)
		}
	}
	maps.DeleteFunc(conns, func(_ string, lines []*transcriptLine) bool {
		request, err := readHTTP(lines[0].Data)
		return err != nil || request.Path == "/broadcast" || request.Path == "/disconnect"
	})
	return conns
}

// replayLines replays the lines of a connection.
func replayLines(lines []*transcriptLine, falsify func(i int, data []byte, binary bool) []byte, silent map[string]int) (*transcriptReplay, error) {
	p := newTranscriptReplay(silent)
	for i, l := range lines {
		if falsify != nil {
			p.falsify = func(data []byte, binary bool) []byte { return falsify(i, data, binary) }
		}
		if err := p.line(l); err != nil {
			return p, err
		}
	}
	return p, nil
}

// What real servers sent makes the right events, in order, with the very bytes of their payloads; and no frame is passed
// over without a reason.
func TestTranscriptEvents(t *testing.T) {
	silent := map[string]int{}
	connections, events := 0, 0
	for _, file := range transcriptFiles(t) {
		for conn, lines := range readTranscript(t, file) {
			p, err := replayLines(lines, nil, silent)
			if err != nil {
				t.Errorf("%s %s: %v", file, conn, err)
			}
			if diff := cmp.Diff(p.expected, p.got); diff != "" {
				t.Errorf("%s %s: expected (-) and seen (+) events differ:\n%s", file, conn, diff)
			}
			for _, data := range p.unexplained {
				t.Errorf("%s %s: nothing comes of this frame, and no rule says why: %s", file, conn, data)
			}
			connections++
			events += len(p.got)
		}
	}
	t.Logf("%d connections, %d events; frames of which nothing comes: %v", connections, events, silent)
}
