package router

import (
	"runtime"
	"sync"
	"testing"
)

// TestTableInUseIsNotOver: whoever has acquired a table may put what it says, because the sinks it leads to still listen.
func TestTableInUseIsNotOver(t *testing.T) {
	r := New(nil)
	var users sync.WaitGroup
	ended := make(chan struct{})
	for range 4 {
		users.Go(func() {
			for stillOn(ended) {
				table := r.acquire()
				for range 3 {
					if table.over.Load() {
						t.Error("a table in use is over")
					}
					runtime.Gosched()
				}
				table.release()
			}
		})
	}
	for range 20_000 {
		next, err := newTable(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-r.swap(next).idle // waits for all who use it
	}
	close(ended)
	users.Wait()
}

// TestTableWaitsForOlderOnes: a sink may be in several tables, and the oldest may be in use longest.
func TestTableWaitsForOlderOnes(t *testing.T) {
	r := New(nil)
	first := r.acquire()
	var tables []*table
	for range 3 {
		next, err := newTable(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, r.swap(next))
	}
	second := r.acquire()
	for i, table := range tables {
		if table.over.Load() {
			t.Errorf("table %d is over while the first one is in use", i)
		}
	}
	first.release()
	for i, table := range tables {
		if !table.over.Load() {
			t.Errorf("table %d is not over", i)
		}
	}
	if second.release(); second.over.Load() {
		t.Error("the router's table is over")
	}
}
