package router

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// setSpoolFormat changes the format of a file and closes it.
func setSpoolFormat(t *testing.T, f *spoolFile, format string) {
	t.Helper()
	if err := f.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(spoolFormatBucket).Put(spoolFormatKey, []byte(format)) }); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
}

// makeSpool makes a file with records that tell which they are, as it is after some of them were deleted.
func makeSpool(t testing.TB, path string, records, deleted int) {
	f, err := openSpoolFile(path, SyncNever, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	for first := 1; first <= records; first += 50 {
		change := &spoolChange{}
		for i := first; i < first+50 && i <= records; i++ {
			change.append = append(change.append, spoolRecord{kind: spoolSignal, seq: uint64(i), came: 1e18, connection: []byte("backend"), line: spoolLine(i)})
		}
		if _, err := f.commit(change); err != nil {
			t.Fatal(err)
		}
	}
	change := &spoolChange{records: deleted}
	for i := 1; i <= deleted; i++ {
		change.delete = append(change.delete, uint64(i))
	}
	if _, err := f.commit(change); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
}

// spoolLine is the line of a record; some are longer than a page.
func spoolLine(i int) []byte {
	return fmt.Appendf(nil, "{\"n\":%d,\"x\":\"%s\"}\n", i, strings.Repeat(string(rune('a'+i%26)), 100+i%7*900))
}

// readSpool opens a file and reads all. What it reads is as it was written; a record may be missing, or known to be bad.
func readSpool(path string) (good, bad int, opened bool, err error) {
	f, err := openSpoolFile(path, SyncNever, discardLog())
	if err != nil {
		return 0, 0, false, err
	}
	defer f.close()
	last := uint64(0)
	var wrong error
	err = f.each(0, func(key uint64, r spoolRecord, size int64, headOK bool, e error) bool {
		switch {
		case key <= last:
			wrong = fmt.Errorf("key %d after %d", key, last)
		case e != nil && headOK && (r.seq != key || string(r.connection) != "backend"):
			wrong = fmt.Errorf("record %d is known to be bad, but not which it is", key)
		case e != nil:
			bad++
		case r.seq != key || string(r.connection) != "backend" || !bytes.Equal(r.line, spoolLine(int(key))):
			wrong = fmt.Errorf("record %d is wrong", key)
		default:
			good++
		}
		last = key
		return wrong == nil
	})
	if wrong != nil {
		return good, bad, true, wrong
	}
	if err != nil {
		return good, bad, false, err
	}
	// It can be written, too.
	if _, err := f.commit(&spoolChange{append: []spoolRecord{{kind: spoolSignal, seq: f.next, connection: []byte("backend"), line: spoolLine(int(f.next))}}}); err != nil {
		return good, bad, false, err
	}
	return good, bad, true, nil
}

// TestSpoolDamage cuts, zeroes and flips parts of a spool. It is opened, or refused with what to do, and never yields a record that was
// not written so.
func TestSpoolDamage(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	const records, deleted = 400, 130
	makeSpool(t, whole, records, deleted)
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if good, bad, opened, err := readSpool(whole); good != records-deleted || bad != 0 || !opened || err != nil {
		t.Fatalf("%d good, %d bad, %v, %v", good, bad, opened, err)
	}
	rounds := 600
	if testing.Short() {
		rounds = 150
	}
	random := rand.New(rand.NewPCG(3, 5))
	outcomes := map[string]int{}
	path := filepath.Join(dir, "damaged")
	for round := range rounds {
		damaged := bytes.Clone(content)
		at := random.IntN(len(damaged))
		what := ""
		switch round % 5 {
		case 0:
			what, damaged = "cut", damaged[:at]
		case 1:
			what = "zeroed tail"
			clear(damaged[at:])
		case 2:
			what = "zeroed page"
			at = at / 4096 * 4096
			clear(damaged[at : at+4096])
		case 3:
			what = "flipped bit"
			damaged[at] ^= 1 << random.IntN(8)
		default: // where the numbers are that are followed
			what = "flipped header"
			at = at/4096*4096 + random.IntN(128)
			damaged[at] ^= 1 << random.IntN(8)
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		good, bad, opened, err := readSpool(path)
		switch {
		case opened && err != nil:
			t.Fatalf("round %d, %s at %d: %v", round, what, at, err)
		case opened && good == records-deleted:
			outcomes[what+": nothing missing"]++
		case opened:
			outcomes[what+": read in part"]++
			if bad == 0 && what != "flipped header" && what != "flipped bit" && what != "zeroed page" && at > 8192 {
				t.Fatalf("round %d, %s at %d: %d records are missing and none is known to be bad", round, what, at, records-deleted-good)
			}
		case !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") && len(damaged) > 0:
			t.Fatalf("round %d, %s at %d: refused with %v", round, what, at, err)
		default:
			outcomes[what+": refused"]++
		}
	}
	for _, want := range []string{"cut: refused", "zeroed tail: refused", "flipped bit: read in part", "flipped header: refused", "flipped bit: nothing missing"} {
		if outcomes[want] == 0 {
			t.Errorf("it never came to %q: %v", want, outcomes)
		}
	}
}

// FuzzSpoolFile changes bytes of a spool.
func FuzzSpoolFile(f *testing.F) {
	whole := filepath.Join(f.TempDir(), "whole")
	makeSpool(f, whole, 60, 20)
	content, err := os.ReadFile(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(4096), uint32(0), byte(1), []byte{0xff})
	f.Add(uint32(8192+16), uint32(20000), byte(0), []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, at, cut uint32, mode byte, change []byte) {
		damaged := bytes.Clone(content)
		for i, b := range change {
			damaged[(int(at)+i)%len(damaged)] ^= b
		}
		if mode%4 == 1 {
			damaged = damaged[:int(cut)%len(damaged)]
		}
		path := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, opened, err := readSpool(path); opened && err != nil {
			t.Fatal(err)
		}
	})
}
