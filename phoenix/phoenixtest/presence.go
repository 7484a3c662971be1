package phoenixtest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// A presence keeps who is where: for each topic the metas of each key, in the order in
// which they came.
type presence struct {
	mu     sync.Mutex
	nextID uint64
	topics map[string]map[string][]*tracked
}

// tracked is one meta, owned by a channel process.
type tracked struct {
	owner *process
	meta  Map
}

// ref is a new phx_ref: unique, and of the same look as Phoenix's.
func (pr *presence) ref() string {
	pr.nextID++
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(make([]byte, 4), pr.nextID))
}

// track adds a meta and returns the diff to broadcast.
func (pr *presence) track(p *process, key string, meta Map) Map {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.find(p, key) != nil {
		panic(fmt.Sprintf("phoenixtest: %q is already tracked by this channel", key))
	}
	t := &tracked{owner: p, meta: maps.Clone(meta)}
	if t.meta == nil {
		t.meta = Map{}
	}
	t.meta["phx_ref"] = pr.ref()
	if pr.topics == nil {
		pr.topics = map[string]map[string][]*tracked{}
	}
	if pr.topics[p.topic] == nil {
		pr.topics[p.topic] = map[string][]*tracked{}
	}
	pr.topics[p.topic][key] = append(pr.topics[p.topic][key], t)
	return diff(entry(key, t.meta), Map{})
}

// update replaces a meta and returns the diff: a leave of the old, a join of the new.
func (pr *presence) update(p *process, key string, change func(Map) Map) Map {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	t := pr.find(p, key)
	if t == nil {
		panic(fmt.Sprintf("phoenixtest: %q is not tracked by this channel", key))
	}
	old := t.meta
	t.meta = maps.Clone(change(maps.Clone(old)))
	t.meta["phx_ref"], t.meta["phx_ref_prev"] = pr.ref(), old["phx_ref"]
	return diff(entry(key, t.meta), entry(key, old))
}

// untrack removes a meta, or with key nil all of the process; nil: there was none.
func (pr *presence) untrack(p *process, key *string) Map {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	leaves := Map{}
	for k, metas := range pr.topics[p.topic] {
		i := slices.IndexFunc(metas, func(t *tracked) bool { return t.owner == p })
		if i < 0 || key != nil && *key != k {
			continue
		}
		leaves[k] = entry(k, metas[i].meta)[k]
		if metas = slices.Delete(metas, i, i+1); len(metas) == 0 {
			delete(pr.topics[p.topic], k)
		} else {
			pr.topics[p.topic][k] = metas
		}
	}
	if len(leaves) == 0 {
		return nil
	}
	return diff(Map{}, leaves)
}

// list is the presence_state of a topic.
func (pr *presence) list(topic string) Map {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	state := Map{}
	for key, all := range pr.topics[topic] {
		metas := make([]Map, len(all))
		for i, t := range all {
			metas[i] = t.meta
		}
		state[key] = Map{"metas": metas}
	}
	return state
}

func (pr *presence) find(p *process, key string) *tracked {
	for _, t := range pr.topics[p.topic][key] {
		if t.owner == p {
			return t
		}
	}
	return nil
}

func entry(key string, meta Map) Map { return Map{key: Map{"metas": []Map{meta}}} }

func diff(joins, leaves Map) Map { return Map{"joins": joins, "leaves": leaves} }
