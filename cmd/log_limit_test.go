package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// Of each kind of line there is one a second at most, the last one is among them, and those that are left out are counted exactly.
func TestLogLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type line struct {
			Time       time.Time
			Msg, Topic string
			N          int
			LeftOut    int `json:"left_out"`
		}
		var out bytes.Buffer
		var limiter logLimiter
		base := slog.New(limiter.handler(slog.NewJSONHandler(&out, nil)))
		logs := map[string]*slog.Logger{"": base, "room:a": base.With("topic", "room:a"), "room:b": base.With("topic", "room:b")}
		const rounds = 20_000
		for n := range rounds { // for ten seconds
			for _, log := range logs {
				log.Info("often", "n", n, "word", fmt.Sprint("word ", n))
			}
			if n%(rounds/4) == 0 {
				base.Info("seldom", "n", n)
			}
			time.Sleep(500 * time.Microsecond)
		}
		limiter.flush()
		base.Info("last", "n", 0)
		last, counted, written := map[string]line{}, map[string]int{}, map[string]int{}
		for decoder := json.NewDecoder(&out); ; {
			var l line
			if err := decoder.Decode(&l); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			kind := l.Msg + l.Topic
			counted[kind] += 1 + l.LeftOut
			written[kind]++
			last[kind] = l
		}
		for _, kind := range []string{"often", "oftenroom:a", "oftenroom:b"} {
			if counted[kind] != rounds || last[kind].N != rounds-1 || written[kind] != 11 {
				t.Errorf("%s: %d lines, that tell of %d, the last of %d", kind, written[kind], counted[kind], last[kind].N)
			}
		}
		if written["seldom"] != 4 || counted["seldom"] != 4 || written["last"] != 1 {
			t.Errorf("written %v, counted %v", written, counted)
		}
		time.Sleep(2 * time.Second)
		limiter.mu.Lock()
		defer limiter.mu.Unlock()
		if len(limiter.kinds) != 0 {
			t.Errorf("%d kinds are remembered", len(limiter.kinds))
		}
	})
}

// Two lines in a second are both written, the second one later: nothing of them is lost.
func TestLogLimitLosesNoSingleLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var limiter logLimiter
		log := slog.New(limiter.handler(newLogger(&out, loggingOptions{}, slog.LevelInfo).Handler()))
		log.Info("joined", "n", 1)
		log.Info("joined", "n", 2)
		log.Debug("not wanted")
		written := func() string {
			limiter.mu.Lock() // a line is written under it
			defer limiter.mu.Unlock()
			return out.String()
		}
		if got, want := written(), "phx: joined n=1\n"; got != want {
			t.Errorf("at once %q, want %q", got, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := written(), "phx: joined n=1\nphx: joined n=2\n"; got != want {
			t.Errorf("after a second %q, want %q", got, want)
		}
		limiter.flush()
	})
}
