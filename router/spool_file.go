package router

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The file of a spool is one of bbolt, with two buckets: spoolFormatBucket says in which format the records are, and spoolBucket has the
// records, by a number of eight bytes, big endian, which is their order. A record is, all numbers being big endian:
//
//	4 bytes  CRC-32C of the key and of what follows up to the line
//	4 bytes  CRC-32C of the line, begun with the first one
//	1 byte   spoolSignal or spoolLoss
//	8 bytes  seq; of a loss the last one
//	8 bytes  when it came, in nanoseconds of Unix time
//	8 bytes  of a loss its count, and 8 bytes the first seq
//	2 bytes  length of the connection's name, and the name
//	         the line
//
// bbolt writes nothing in place, and has checksums of its two first pages only. So the pages are looked at before it opens the file
// ([checkSpoolFile]): what is damaged is refused, and never followed.
var (
	spoolFormatBucket = []byte("phx spool")
	spoolFormatKey    = []byte("format")
	spoolBucket       = []byte("records")
)

const (
	spoolFormat   = "1"
	spoolPageSize = 4096

	spoolSignal byte = 1
	spoolLoss   byte = 2
)

// spoolOverhead is what a record needs in the file beside its line and the name, with its share of the page.
const spoolOverhead = 64

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// A spoolRecord is a record of a spool.
type spoolRecord struct {
	kind       byte
	seq        uint64
	came       int64  // in nanoseconds of Unix time
	count      uint64 // of a loss
	firstSeq   uint64 // of a loss
	connection []byte
	line       []byte
}

// size is what the record counts against the limit of its spool.
func (r *spoolRecord) size() int64 { return int64(len(r.line) + len(r.connection) + spoolOverhead) }

// append appends the record with a key as it stands in the file.
func (r *spoolRecord) append(dst []byte, key uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, r.kind)
	dst = binary.BigEndian.AppendUint64(dst, r.seq)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.came))
	if r.kind == spoolLoss {
		dst = binary.BigEndian.AppendUint64(dst, r.count)
		dst = binary.BigEndian.AppendUint64(dst, r.firstSeq)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.connection)))
	dst = append(dst, r.connection...)
	head := spoolSum(key, dst[start+8:])
	binary.BigEndian.PutUint32(dst[start:], head)
	binary.BigEndian.PutUint32(dst[start+4:], crc32.Update(head, crcTable, r.line))
	return append(dst, r.line...)
}

// spoolSum returns the checksum of a key and of the head of its record.
func spoolSum(key uint64, head []byte) uint32 {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], key)
	return crc32.Update(crc32.Checksum(k[:], crcTable), crcTable, head)
}

var errSpoolRecord = errors.New("the checksum of a record is wrong")

// parseSpoolRecord reads a record, which stays a part of value. If only the line is wrong, it returns the rest together with the error.
func parseSpoolRecord(key uint64, value []byte) (r spoolRecord, headOK bool, err error) {
	const short = 8 + 1 + 8 + 8
	if len(value) < short+2 {
		return r, false, errSpoolRecord
	}
	r.kind = value[8]
	r.seq, r.came = binary.BigEndian.Uint64(value[9:]), int64(binary.BigEndian.Uint64(value[17:]))
	at := short
	if r.kind == spoolLoss {
		if len(value) < short+16+2 {
			return r, false, errSpoolRecord
		}
		r.count, r.firstSeq = binary.BigEndian.Uint64(value[at:]), binary.BigEndian.Uint64(value[at+8:])
		at += 16
	}
	end := at + 2 + int(binary.BigEndian.Uint16(value[at:]))
	if end > len(value) {
		return r, false, errSpoolRecord
	}
	r.connection, r.line = value[at+2:end], value[end:]
	head := spoolSum(key, value[8:end])
	if head != binary.BigEndian.Uint32(value) || r.kind != spoolSignal && r.kind != spoolLoss {
		return r, false, errSpoolRecord
	}
	if crc32.Update(head, crcTable, r.line) != binary.BigEndian.Uint32(value[4:]) {
		return r, true, errSpoolRecord
	}
	return r, true, nil
}

// A spoolFile is the open file of a spool. It belongs to one goroutine.
type spoolFile struct {
	path string
	db   *bbolt.DB
	info os.FileInfo // tells the file from another one at its path
	// next is the key of the next record.
	next uint64
	// records and bytes are of the signals in it.
	records int
	bytes   int64
	arena   []byte
}

// errSpoolBusy is that another process has the spool.
var errSpoolBusy = errors.New("another process has it open: each phx serve needs a spool of its own")

// openSpoolFile opens the file of a spool, or makes it. It looks at the whole file.
func openSpoolFile(path string, policy SyncPolicy, log *slog.Logger) (f *spoolFile, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f = &spoolFile{path: path}
	opened := f
	defer func() {
		if err != nil && opened.db != nil {
			_ = guarded(opened.db.Close)
		}
		if err != nil {
			err = fmt.Errorf("cannot open the spool %s: %w", path, err)
		}
	}()
	err = guarded(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: 50 * time.Millisecond, PageSize: spoolPageSize, FreelistType: bbolt.FreelistMapType,
			// A list of free pages in the file would be written at each commit: megabytes, once the spool was large.
			NoFreelistSync: true, NoGrowSync: policy == SyncNever, NoSync: policy != SyncBatch, NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err := os.OpenFile(name, flag, mode)
				if err != nil {
					return nil, err
				}
				if err = lockSpool(file); err == nil {
					err = checkSpoolFile(file, log)
				}
				if err == nil {
					f.info, err = file.Stat()
				}
				if err != nil {
					file.Close()
					return nil, err
				}
				return file, nil
			},
		})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, errSpoolBusy
	case err != nil:
		return nil, err
	}
	return f, guarded(func() error { return f.db.Update(f.begin) })
}

// begin makes the buckets of a new file, and counts what an older one has.
func (f *spoolFile) begin(tx *bbolt.Tx) error {
	about := tx.Bucket(spoolFormatBucket)
	if about == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return errors.New("it is a file of bbolt, but not one of phx: give the spool another directory")
		}
		var err error
		if about, err = tx.CreateBucket(spoolFormatBucket); err != nil {
			return err
		}
		if err := about.Put(spoolFormatKey, []byte(spoolFormat)); err != nil {
			return err
		}
	}
	if format := about.Get(spoolFormatKey); string(format) != spoolFormat {
		return fmt.Errorf("its format is %q, and this phx knows %s only: let the phx that wrote it deliver what is in there, or move the file away", format, spoolFormat)
	}
	records, err := tx.CreateBucketIfNotExists(spoolBucket)
	if err != nil {
		return err
	}
	f.next = 1
	c := records.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 {
			return errDamaged("a key has %d bytes", len(k))
		}
		f.next = binary.BigEndian.Uint64(k) + 1
		if r, ok, _ := parseSpoolRecord(f.next-1, v); !ok || r.kind == spoolSignal {
			f.records++
			f.bytes += sizeInSpool(v)
		}
	}
	if f.next == 0 {
		return errDamaged("there is no number behind the last one")
	}
	return nil
}

// sizeInSpool is [spoolRecord.size] of a record of signals as it stands in the file.
func sizeInSpool(value []byte) int64 { return int64(len(value)-27) + spoolOverhead }

// guarded calls f, and makes an error of a panic: bbolt panics when it finds what cannot be, and a page of a damaged file may lie behind
// its end.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if value := recover(); value != nil {
			err = errDamaged("%v", value)
		}
	}()
	return f()
}

// errDamaged says what is wrong with a file, and what to do.
func errDamaged(format string, args ...any) error {
	return fmt.Errorf("the file is damaged (%s): move it away, and phx begins with an empty one", fmt.Sprintf(format, args...))
}

// A spoolChange is what one commit does: what it deletes, what is lost for lack of room, and what it appends.
type spoolChange struct {
	delete []uint64
	append []spoolRecord
	// at are keys in the place of what was deleted, each with a loss.
	at     []uint64
	losses []spoolRecord
	// The counts of what is deleted.
	records int
	bytes   int64
}

// errSpoolRemoved is that what would be written is gone with the process.
var errSpoolRemoved = errors.New("the file was removed or replaced while it was in use: put it back, or restart")

// there reports whether the file is still at its path.
func (f *spoolFile) there() bool {
	info, err := os.Stat(f.path)
	return err == nil && os.SameFile(info, f.info) || err != nil && !errors.Is(err, os.ErrNotExist)
}

// commit does a change, whole or not at all, and reports whether it is done. An error beside that says that a failure of the machine may
// still undo it, until another commit succeeds.
func (f *spoolFile) commit(change *spoolChange) (done bool, err error) {
	if !f.there() {
		return false, errSpoolRemoved
	}
	f.arena = f.arena[:0]
	ends := make([]int, 0, len(change.append)+len(change.losses))
	for i := range change.append {
		f.arena = change.append[i].append(f.arena, f.next+uint64(i))
		ends = append(ends, len(f.arena))
	}
	for i := range change.losses {
		f.arena = change.losses[i].append(f.arena, change.at[i])
		ends = append(ends, len(f.arena))
	}
	id := 0
	err = guarded(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			id = tx.ID()
			b := tx.Bucket(spoolBucket)
			b.FillPercent = 1 // keys grow
			var key [8]byte
			for _, k := range change.delete {
				binary.BigEndian.PutUint64(key[:], k)
				if err := b.Delete(key[:]); err != nil {
					return err
				}
			}
			start := 0
			for i, end := range ends {
				k := f.next + uint64(i)
				if i >= len(change.append) {
					k = change.at[i-len(change.append)]
				}
				if err := b.Put(binary.BigEndian.AppendUint64(nil, k), f.arena[start:end]); err != nil {
					return err
				}
				start = end
			}
			return nil
		})
	})
	if cap(f.arena) > 4*mostInTransaction {
		f.arena = nil
	}
	if err != nil && !f.has(id) {
		return false, err
	}
	f.next += uint64(len(change.append))
	f.records -= change.records
	f.bytes -= change.bytes
	for i := range change.append {
		if change.append[i].kind == spoolSignal {
			f.records++
			f.bytes += change.append[i].size()
		}
	}
	return true, err
}

// has reports whether the file has a transaction. One whose last page was written, but not brought to the disk, fails and is there.
func (f *spoolFile) has(id int) (there bool) {
	err := guarded(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			there = id > 0 && tx.ID() >= id
			return nil
		})
	})
	return there && err == nil
}

// each calls visit for each record from a key on, until it returns false. headOK says that a record whose error is not nil has only
// a wrong line.
func (f *spoolFile) each(from uint64, visit func(key uint64, r spoolRecord, size int64, headOK bool, err error) bool) error {
	return guarded(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(spoolBucket).Cursor()
			for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, from)); k != nil; k, v = c.Next() {
				key := binary.BigEndian.Uint64(k)
				r, headOK, err := parseSpoolRecord(key, v)
				if !visit(key, r, sizeInSpool(v), headOK, err) {
					return nil
				}
			}
			return nil
		})
	})
}

// sync brings what was committed to the disk.
func (f *spoolFile) sync() error { return guarded(f.db.Sync) }

func (f *spoolFile) close() error { return guarded(f.db.Close) }

// checkSpoolFile follows every page of a file of bbolt from its root, and returns what is wrong with it. So bbolt, which trusts what it
// reads, follows none that is not there, and none twice.
func checkSpoolFile(file *os.File, log *slog.Logger) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	c := &spoolCheck{file: file, size: info.Size(), seen: map[uint64]bool{}}
	root, err := c.root(log)
	if err != nil {
		return err
	}
	return c.page(root, nil, nil, true, 0)
}

// A spoolCheck is the way through the pages of a file. The layout is that of bbolt 1.5 (internal/common): a page has a header of 16
// bytes, id, flags, count and overflow, and elements of 16 bytes, all in the byte order of the machine.
type spoolCheck struct {
	file *os.File
	size int64
	end  uint64 // the number of the first page that is not used
	seen map[uint64]bool
}

const (
	pageHeader, pageElement              = 16, 16
	pageIsBranch, pageIsLeaf, pageIsMeta = 1, 2, 4
	leafIsBucket                         = 1
	metaSize, metaMagic                  = 64, 0xED0CDAED
)

// root returns the number of the root page, which one of the two first pages has: the later one, if it is whole.
func (c *spoolCheck) root(log *slog.Logger) (uint64, error) {
	order := binary.NativeEndian
	var root, latest uint64
	found, broken := false, 0
	for i := range int64(2) {
		page := make([]byte, pageHeader+metaSize)
		if _, err := c.file.ReadAt(page, i*spoolPageSize); err != nil && err != io.EOF {
			return 0, err
		}
		meta := page[pageHeader:]
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:metaSize-8])
		if order.Uint32(meta) != metaMagic || order.Uint64(meta[metaSize-8:]) != sum.Sum64() || order.Uint16(page[8:])&pageIsMeta == 0 || order.Uint64(page) != uint64(i) {
			broken++
			continue
		}
		if size := order.Uint32(meta[8:]); size != spoolPageSize {
			return 0, errDamaged("its pages have %d bytes", size)
		}
		if tx := order.Uint64(meta[48:]); !found || tx > latest {
			found, latest, root, c.end = true, tx, order.Uint64(meta[16:]), order.Uint64(meta[40:])
		}
	}
	if !found {
		return 0, errDamaged("both of its first pages are broken, or it is no spool")
	}
	if broken > 0 {
		log.Warn("one of the two first pages of the spool is broken; the latest signals in it may be missing", "file", c.file.Name())
	}
	return root, nil
}

// mostDepth is more than the depth of a tree that fits into any file.
const mostDepth = 24

// page looks at a page and all below it, whose keys are from low on and before high, if that is not nil. top: it is the tree of buckets.
func (c *spoolCheck) page(id uint64, low, high []byte, top bool, depth int) error {
	header := make([]byte, pageHeader)
	if id < 2 || id >= c.end || depth > mostDepth {
		return errDamaged("a page has the number %d of %d", id, c.end)
	}
	if _, err := c.file.ReadAt(header, int64(id)*spoolPageSize); err != nil {
		return c.unreadable(id, err)
	}
	pages := uint64(binary.NativeEndian.Uint32(header[12:])) + 1
	if binary.NativeEndian.Uint64(header) != id || id+pages > c.end || int64(id+pages)*spoolPageSize > c.size {
		return errDamaged("page %d is another one, or not whole", id)
	}
	for i := range pages {
		if c.seen[id+i] {
			return errDamaged("page %d is used twice", id+i)
		}
		c.seen[id+i] = true
	}
	page := make([]byte, pages*spoolPageSize)
	if _, err := c.file.ReadAt(page, int64(id)*spoolPageSize); err != nil {
		return c.unreadable(id, err)
	}
	return c.elements(id, page, low, high, top, depth)
}

func (c *spoolCheck) unreadable(id uint64, err error) error {
	if err == io.EOF {
		return errDamaged("page %d is behind its end", id)
	}
	return err
}

// elements looks at those of a page.
func (c *spoolCheck) elements(id uint64, page, low, high []byte, top bool, depth int) error {
	order := binary.NativeEndian
	flags, count := order.Uint16(page[8:]), uint64(order.Uint16(page[10:]))
	if flags != pageIsBranch && flags != pageIsLeaf || pageHeader+count*pageElement > uint64(len(page)) || flags == pageIsBranch && count == 0 {
		return errDamaged("page %d has flags %d and %d elements", id, flags, count)
	}
	type element struct {
		key, value []byte
		child      uint64
		bucket     bool
	}
	list := make([]element, count)
	for i := range list {
		at := uint64(pageHeader + i*pageElement)
		e := page[at:]
		var pos, key, value uint64
		if flags == pageIsBranch {
			pos, key, list[i].child = uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), order.Uint64(e[8:])
		} else {
			kind := order.Uint32(e)
			pos, key, value = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
			if list[i].bucket = kind == leafIsBucket; kind > leafIsBucket || list[i].bucket != top {
				return errDamaged("page %d has an element of the kind %d", id, kind)
			}
		}
		if pos < pageElement || at+pos+key+value > uint64(len(page)) {
			return errDamaged("page %d has an element behind its end", id)
		}
		list[i].key, list[i].value = page[at+pos:at+pos+key], page[at+pos+key:at+pos+key+value]
		if key == 0 || bytes.Compare(list[i].key, low) < 0 || high != nil && bytes.Compare(list[i].key, high) >= 0 ||
			i > 0 && bytes.Compare(list[i-1].key, list[i].key) >= 0 {
			return errDamaged("the keys of page %d are in disorder", id)
		}
	}
	for i, e := range list {
		switch {
		case flags == pageIsBranch:
			before := high
			if i+1 < len(list) {
				before = list[i+1].key
			}
			if err := c.page(e.child, e.key, before, top, depth+1); err != nil {
				return err
			}
		case !e.bucket:
		case len(e.value) < 16:
			return errDamaged("a bucket in page %d is not whole", id)
		default:
			// A small bucket is a page inside of the element.
			if child := order.Uint64(e.value); child != 0 {
				if err := c.page(child, nil, nil, false, depth+1); err != nil {
					return err
				}
			} else if len(e.value) < 16+pageHeader {
				return errDamaged("a bucket in page %d is not whole", id)
			} else if inline := e.value[16:]; order.Uint16(inline[8:]) != pageIsLeaf {
				return errDamaged("a bucket in page %d is no leaf", id)
			} else if err := c.elements(id, inline, nil, nil, false, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
