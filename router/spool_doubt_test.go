package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.etcd.io/bbolt"
)

// A badDisk fails writes of the first two pages of a file, with which bbolt ends each transaction: without effect, or after it, as
// fdatasync does.
type badDisk struct{ before, after atomic.Int32 }

var errDisk = errors.New("the disk has failed")

// under puts the disk under a file of bbolt, which has a variable for that and no name for it.
func (b *badDisk) under(t *testing.T, db *bbolt.DB) {
	v := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	if !v.IsValid() || v.Type() != reflect.TypeFor[func([]byte, int64) (int, error)]() {
		t.Fatal("bbolt writes in another way now")
	}
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(v.UnsafeAddr()))
	really := *writeAt
	*writeAt = func(page []byte, at int64) (int, error) {
		if at < 2*spoolPageSize && take(&b.before) {
			return 0, errDisk
		}
		n, err := really(page, at)
		if at < 2*spoolPageSize && take(&b.after) {
			return n, errDisk
		}
		return n, err
	}
}

// take reports whether n was positive, and counts it down.
func take(n *atomic.Int32) bool {
	if n.Load() <= 0 {
		return false
	}
	n.Add(-1)
	return true
}

// TestSpoolDoubt: a commit that fails although the file has it is not made again, and counts once; an event in it is done with when a
// later commit makes it certain.
func TestSpoolDoubt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		disk := &badDisk{}
		s := startSpooled(t, path, down, nil)
		synctest.Wait()
		disk.under(t, s.d.file.db)
		progress := NewProgress()
		p := s.Publisher("a")
		p.Follow(progress)
		publish := func(from, to int) {
			for i := from; i <= to; i++ {
				p.Publish(numberedEvent(i))
			}
			p.Flush()
			synctest.Wait()
		}
		publish(1, 3)
		disk.after.Store(1)
		publish(4, 6)
		if got := s.d.Spooled(); got.Records != 6 || !errors.Is(got.Fault, errDisk) {
			t.Errorf("after a commit that failed in the end: %+v, want 6 records and the fault", got)
		}
		if done := progress.Done(); done != 3 {
			t.Errorf("done up to %d, want 3: what is not certain does not count", done)
		}
		time.Sleep(5 * time.Second)
		if got := s.d.Spooled(); got.Records != 6 || got.Fault != nil || progress.Done() != 6 {
			t.Errorf("later: %+v, done up to %d", got, progress.Done())
		}
		disk.after.Store(1000)
		publish(7, 9)
		s.k.set(up)
		time.Sleep(5 * time.Second)
		s.wantGot(numbered("a", 1, 9))
		// Nothing makes it certain any more: whoever resumes asks for it again.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		wantContainsLog(t, s.book, "the spool cannot be written")
		if done := progress.Done(); done != 6 {
			t.Errorf("done up to %d at the end, want 6", done)
		}
	})
}

// TestSpoolBadDisk: whatever commits fail, and however, each signal is delivered once, in order, or lost and announced, and the counts are
// those of the file.
func TestSpoolBadDisk(t *testing.T) {
	for seed := range uint64(40) {
		path := filepath.Join(t.TempDir(), "hook.spool")
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			disk := &badDisk{}
			s := startSpooled(t, path, down, func(o *SpoolOptions, _ *SinkOptions) { o.MaxBytes = 20_000 })
			synctest.Wait()
			disk.under(t, s.d.file.db)
			n := 0
			for range 60 {
				more := 1 + rng.IntN(12)
				s.publish("a", n+1, n+more)
				n += more
				switch rng.IntN(8) {
				case 0:
					disk.after.Store(int32(1 + rng.IntN(2)))
				case 1:
					disk.before.Store(int32(1 + rng.IntN(2)))
				case 2:
					s.k.set([]func(string) error{up, down}[rng.IntN(2)])
				case 3:
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
				}
				synctest.Wait()
				if got := s.d.Spooled(); got.Records < 0 || got.Bytes < 0 || got.Records > n {
					t.Fatalf("seed %d: %+v of %d", seed, got, n)
				}
			}
			disk.before.Store(0)
			disk.after.Store(0)
			s.k.set(up)
			time.Sleep(time.Hour)
			delivered, lost := ptr(s.Stats()[0]).Sum()
			if delivered+lost != uint64(n) {
				t.Errorf("seed %d: %d delivered, %d lost of %d", seed, delivered, lost, n)
			}
			if got := s.d.Spooled(); got.Records != 0 || got.Bytes != 0 || got.InMemory != 0 || got.Fault != nil || s.d.file.records != 0 || s.d.file.bytes != 0 {
				t.Errorf("seed %d: at the end there are %+v, and %d records of %d bytes in the file", seed, got, s.d.file.records, s.d.file.bytes)
			}
			next, announced := 1, uint64(0)
			for line := range strings.FieldsSeq(strings.ReplaceAll(shorts(s.k.lines()), "a lost ", "lost")) {
				var count, first, last int
				if _, err := fmt.Sscanf(line, "lost%d:", &count); err == nil {
					announced += uint64(count)
					continue
				}
				if k, err := fmt.Sscanf(line, "%d-%d", &first, &last); err == nil && k == 2 {
					next = last + 1
					continue
				}
				if line != fmt.Sprintf("a%d", next) {
					t.Errorf("seed %d: %s came, want a%d", seed, line, next)
					return
				}
				next++
			}
			if next != n+1 || announced != lost {
				t.Errorf("seed %d: the last one was %d of %d, %d lost, %d announced", seed, next-1, n, lost, announced)
			}
			s.stop()
		})
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Fatalf("seed %d: %v", seed, err)
		}
		f, err := openSpoolFile(path, SyncNever, discardLog())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if f.records != 0 || f.bytes != 0 {
			t.Errorf("seed %d: the file has %d records of %d bytes", seed, f.records, f.bytes)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
}
