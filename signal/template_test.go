package signal

import (
	"strconv"
	"strings"
	"testing"
)

// TestTemplatesStayBounded: a server that invents topics fills no memory.
func TestTemplatesStayBounded(t *testing.T) {
	c := templateCache{layout: &signalLayout, connection: "backend", limit: maxTemplates}
	most := 0
	for i := range 20000 {
		key := templateKey{kind: kindMessage, topic: "room:" + strconv.Itoa(i), event: strings.Repeat("e", i%200)}
		if got := c.get(key); got.key != key {
			t.Fatalf("template of %v for %v", got.key, key)
		}
		most = max(most, len(c.templates))
		if i%1000 != 0 {
			continue
		}
		size := 0
		for _, kept := range c.templates {
			size += kept.size()
		}
		if size != c.size || size > maxTemplates {
			t.Fatalf("%d bytes of templates, counted as %d, allowed %d", size, c.size, maxTemplates)
		}
	}
	if most < 100 {
		t.Errorf("never more than %d templates kept", most)
	}
}

func TestLargeTemplateIsNotKept(t *testing.T) {
	c := templateCache{layout: &signalLayout, connection: "backend", limit: maxTemplates}
	usual := templateKey{kind: kindMessage, topic: "t", event: "e"}
	kept := c.get(usual)
	large := templateKey{kind: kindMessage, topic: strings.Repeat("t", maxTemplate), event: "e"}
	if got := c.get(large); got.key != large {
		t.Error("wrong template")
	}
	if len(c.templates) != 1 || c.latest != kept || c.get(usual) != kept {
		t.Error("the large template took a place")
	}
}

func TestCacheAtMost(t *testing.T) {
	e := NewEncoder(FormatSignal, "c")
	e.CacheAtMost(16 << 10)
	for i := range 1000 {
		e.templates.get(templateKey{kind: kindMessage, topic: "room:" + strconv.Itoa(i), event: "e"})
		if e.templates.size > 16<<10 {
			t.Fatalf("%d bytes of templates are kept", e.templates.size)
		}
	}
	usual := templateKey{kind: kindMessage, topic: "room:lobby", event: "new_msg"}
	if kept := e.templates.get(usual); e.templates.templates[usual] != kept {
		t.Error("a template of the usual size is not kept")
	}
}
