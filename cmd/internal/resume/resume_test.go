package resume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// valueN is what a message {"n":N} has, nothing for 0; a negative one is an error.
func valueN(_ context.Context, line []byte) (json.RawMessage, error) {
	var signal struct {
		Data struct{ Payload struct{ N int } }
	}
	if err := json.Unmarshal(line, &signal); err != nil {
		return nil, err
	}
	switch n := signal.Data.Payload.N; {
	case n < 0:
		return nil, errors.New("negative")
	case n == 0:
		return nil, nil
	default:
		return json.Marshal(n)
	}
}

func isUsage(err error) bool {
	var e *exit.Error
	return errors.As(err, &e) && e.Code == exit.Usage
}

func message(seq uint64, topic, payload string) *phoenix.Event {
	return &phoenix.Event{Time: time.Now(), Seq: seq, Session: 1, Topic: topic, Name: "entry", Payload: phoenix.JSON(payload), Detail: &phoenix.Message{}}
}

// TestCursors: a value counts once its message and all before it are done with, topic by topic; null and errors keep it. It is saved at
// once, then once a second at most, and at the end.
func TestCursors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursors.json")
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Uint64
		c, err := Open(path, "backend", done.Load, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		failures := 0
		f := c.Follower("backend", func(Param, error) { failures++ })
		params := []Param{{"since", valueN}, {"other", func(context.Context, []byte) (json.RawMessage, error) { return nil, nil }}}
		want := func(topic, object string) {
			t.Helper()
			if got := string(c.Of(topic, params)); got != object {
				t.Errorf("%s at %d: %s, want %s", topic, done.Load(), got, object)
			}
		}
		saved := func(text string) {
			t.Helper()
			if got, err := os.ReadFile(path); err != nil || !strings.Contains(string(got), text) {
				t.Errorf("saved %s, %v; want %s", got, err, text)
			}
		}
		f.Note(t.Context(), message(1, "a", `{"n":1}`), params)
		f.Note(t.Context(), message(2, "b", `{"n":7}`), params)
		f.Note(t.Context(), message(3, "a", `{"n":0}`), params)
		f.Note(t.Context(), message(4, "a", `{"n":-1}`), params)
		f.Note(t.Context(), message(5, "a", `{"n":5}`), params)
		// The first look at the values comes before any message is done with: what it found would be saved, and the next save a second later.
		synctest.Wait()
		want("a", "")
		done.Store(1)
		want("a", `{"since":1}`)
		want("b", "")
		done.Store(4)
		want("a", `{"since":1}`)
		want("b", `{"since":7}`)
		time.Sleep(firstLook)
		synctest.Wait()
		saved(`{"a":{"since":1},"b":{"since":7}}`)
		done.Store(5)
		time.Sleep(saveInterval / 2)
		synctest.Wait()
		saved(`{"a":{"since":1}`)
		time.Sleep(saveInterval / 2)
		synctest.Wait()
		saved(`{"a":{"since":5}`)
		f.Note(t.Context(), message(6, "a", `{"n":6}`), params)
		done.Store(6)
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		saved(`{"a":{"since":6}`)
		if failures != 1 {
			t.Errorf("%d failures", failures)
		}
	})
	// It is for one connection; those of others stay.
	other, err := Open(path, "other", func() uint64 { return 0 }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := other.Of("a", []Param{{Name: "since"}}); got != nil {
		t.Errorf("another connection has %s", got)
	}
	if _, err := Open(path, "backend", nil, nil); !isUsage(err) {
		t.Errorf("a file that is in use: %v", err)
	}
	if err := other.place.save(other.place.text(topics{"x": {"since": json.RawMessage("1")}})); err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	back, err := Open(path, "backend", func() uint64 { return 0 }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(back.Of("a", []Param{{Name: "since"}})); got != `{"since":6}` {
		t.Errorf("after a restart: %s", got)
	}
	// Somebody who replaces the file is not overwritten.
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := back.place.save([]byte("{}")); err == nil || !strings.Contains(err.Error(), "another process has replaced it") {
		t.Errorf("a file that was replaced: %v", err)
	}
	if err := back.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzFile: whatever is in a file, it is taken as a whole or refused with the exit code of bad input; what is taken is saved as the same.
func FuzzFile(f *testing.F) {
	for _, text := range []string{
		"", "{}", "null", `{"format":"phx-resume-1"}`, `{"format":"phx-resume-1","connections":null}`, `{"format":"phx-resume-2","connections":{}}`,
		`{"format":"phx-resume-1","connections":{"a":{"t":{"since":1.0}},"b":null}}` + "\n", `{"format":"phx-resume-1","connections":{}} {}`,
		`{"format":"phx-resume-1","connections":{"a":{"t":null}}}`, `{"format":"phx-resume-1","connections":{"a":{"t":{"since":`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := &file{path: "cursors.json", connection: "a", content: content{Format: format, Connections: map[string]topics{}}}
		if err := in.parse([]byte(text)); err != nil {
			if !isUsage(err) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		values := in.values()
		out := &file{connection: "a", content: content{Format: format, Connections: map[string]topics{}}}
		if err := out.parse(in.text(values)); err != nil {
			t.Fatalf("%q: what was taken is refused: %v", text, err)
		}
		again := out.values()
		for topic, params := range values {
			for name, value := range params {
				if other := again[topic][name]; !reflect.DeepEqual(decoded(t, value), decoded(t, other)) {
					t.Errorf("%q: %s of %s is %s, and then %s", text, name, topic, value, other)
				}
			}
		}
	})
}

// decoded returns a JSON text as a value, with its numbers as they are spelled.
func decoded(t *testing.T, text []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return value
}
