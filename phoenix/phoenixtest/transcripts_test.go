package phoenixtest_test

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
)

const transcripts = "../../testdata/transcripts"

// clients are the recordings of clients; all were made on Bandit with its defaults.
var clients = []string{"phoenix-js-1.8.16", "phx-go-0.2.5", "slipstream-1.2.2", "wscat-6.1.0"}

// A transcript is one file and how to replay it.
type transcript struct {
	scenario
	file   string // below transcripts
	flavor phoenixtest.Flavor
}

// allTranscripts is what the tables name, claimed or not.
func allTranscripts() []transcript {
	var all []transcript
	for _, name := range clients {
		all = append(all, transcript{file: "clients/" + name + ".ndjson"})
	}
	for name, sc := range scenarios {
		for _, vsn := range sc.in {
			file := vsn + "/" + name + ".ndjson"
			all = append(all,
				transcript{scenario: sc, file: file},
				transcript{scenario: sc, file: "cowboy/" + file, flavor: phoenixtest.Cowboy})
		}
	}
	slices.SortFunc(all, func(a, b transcript) int { return strings.Compare(a.file, b.file) })
	return all
}

// TestTranscriptsAreAllNamed keeps the tables and the directory in step.
func TestTranscriptsAreAllNamed(t *testing.T) {
	var onDisk []string
	err := fs.WalkDir(os.DirFS(transcripts), ".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			onDisk = append(onDisk, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, tr := range allTranscripts() {
		named = append(named, tr.file)
	}
	slices.Sort(onDisk)
	if diff := cmp.Diff(onDisk, named); diff != "" {
		t.Errorf("transcripts on disk (-) and in the tables (+) differ:\n%s", diff)
	}
}

// TestTranscripts replays the clients' half of every claimed recording against the peer
// application and compares the server's half. Then it falsifies the recording in many ways,
// one at a time, and wants the comparison to notice, so that it is known to see something.
func TestTranscripts(t *testing.T) {
	for _, tr := range allTranscripts() {
		if tr.unclaimed != "" {
			continue
		}
		t.Run(strings.TrimSuffix(tr.file, ".ndjson"), func(t *testing.T) {
			recording := readRecording(t, path.Join(transcripts, tr.file))
			var got map[string][]string
			synctest.Test(t, func(t *testing.T) {
				got = replay(t, recording, tr.config.App(), tr.flavor)
			})
			if slices.Contains(tr.loses, path.Dir(tr.file)) {
				got[""] = slices.DeleteFunc(got[""], func(line string) bool { return strings.HasPrefix(line, "close 1009") })
			}
			if diff := cmp.Diff(serverLines(recording), got); diff != "" {
				t.Fatalf("recorded (-) and replayed (+) differ:\n%s", diff)
			}
			for what, falsified := range falsifications(recording) {
				if cmp.Equal(serverLines(falsified), got) {
					t.Errorf("not noticed: %s", what)
				}
			}
		})
	}
}
