package phoenix

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// recorded is a line of a transcript (PROTOCOL.md, part 2).
type recorded struct {
	Dir, Type string
	Data      json.RawMessage
	// Length is there when the recording holds only the beginning of a long frame.
	Length int
}

// serverFrames calls visit for every data frame that a server sent in the transcripts.
func serverFrames(t *testing.T, visit func(file string, r recorded, data []byte)) {
	t.Helper()
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		files, err := filepath.Glob(filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "*.ndjson"))
		if err != nil || len(files) < 80 {
			t.Fatalf("%d transcripts of %s in ../testdata/transcripts (error %v): they are part of the project", len(files), dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(text) {
				var r recorded
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if r.Dir != "server" || r.Type != "text" && r.Type != "binary" {
					continue
				}
				var data string
				if err := json.Unmarshal(r.Data, &data); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				visit(file, r, []byte(data))
			}
		}
	}
}

// Every frame that a real server was recorded to send is decoded, and as encoding/json would.
func TestTranscripts(t *testing.T) {
	var texts, binaries int
	serverFrames(t, func(file string, r recorded, data []byte) {
		var c codec = codecV2{}
		var want decoded
		var ok bool
		switch {
		case r.Length > 0:
			return // cut short by the recorder: no frame any more
		case r.Type == "binary":
			binaries++
			raw, err := base64.StdEncoding.DecodeString(string(data))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			data = raw
			want, ok = modelBinary(data)
		case data[0] == '{': // in the directories of v2, too: the scenario "vsn" connects with many
			texts++
			c = codecV1{}
			want, ok = modelV1(data)
		default:
			texts++
			want, ok = modelV2(data)
		}
		if !ok {
			t.Fatalf("%s: the model cannot decode %q", file, data)
		}
		checkDecode(t, c, data, r.Type == "binary", want, ok)
	})
	if texts < 1000 || binaries < 24 {
		t.Errorf("only %d text and %d binary frames in the transcripts", texts, binaries)
	}
}
