package realtime

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/phoenix/phoenixtest"
)

// A subscription is one entry of postgres_changes in a join.
type subscription struct {
	id  uint32 // that the client knows it by
	raw object // as the client has asked

	event, schema, table string // "*" is any
	filters              []filter
	malformed            string // why there is no such subscription; "" for one that is good
}

// A filter is COLUMN=OPERATOR.VALUE.
type filter struct {
	column, operator, value string
	negated                 bool
}

// newSubscriptions reads what a join asks for. A client that sends no config gets the table that its topic names: SCHEMA, SCHEMA:TABLE or
// SCHEMA:TABLE:FILTER.
func newSubscriptions(params joinParams, name string) []subscription {
	if !params.newAPI {
		asked := object{}
		for i, part := range strings.SplitN(name, ":", 3) {
			asked[[]string{"schema", "table", "filter"}[i]] = phoenixtest.JSON(part).Bytes()
		}
		return []subscription{newSubscription(asked)}
	}
	var all []subscription
	for _, raw := range params.changes {
		all = append(all, newSubscription(objectOf(raw)))
	}
	return all
}

// newSubscription reads one (lib/extensions/postgres_cdc_rls/subscriptions.ex).
func newSubscription(asked object) subscription {
	hash := fnv.New32a()
	hash.Write(phoenixtest.JSON(asked).Bytes())
	s := subscription{id: hash.Sum32() >> 5, raw: asked, event: "*", schema: "public", table: "*"} // 27 bits, as phash2 has
	if event := strings.ToUpper(asked.text("event")); event == "INSERT" || event == "UPDATE" || event == "DELETE" {
		s.event = event
	}
	_, hasSchema := asked["schema"]
	_, hasTable := asked["table"]
	_, hasFilter := asked["filter"]
	if !hasSchema && !hasTable || hasFilter && !(hasSchema && hasTable) {
		s.malformed = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: " +
			string(phoenixtest.JSON(asked).Bytes())
		return s
	}
	if hasSchema {
		s.schema = asked.text("schema")
	}
	if hasTable {
		s.table = asked.text("table")
	}
	if text := strings.TrimSpace(asked.text("filter")); text != "" {
		var why string
		if s.filters, why = parseFilters(text); why != "" {
			s.malformed = "Error parsing `filter` params: " + why
		}
	}
	return s
}

// operators are those of filters. A column has its value as PostgREST shows it.
var operators = map[string]func(column, value string) bool{
	"eq":         func(c, v string) bool { return c == v },
	"neq":        func(c, v string) bool { return c != v },
	"isdistinct": func(c, v string) bool { return c != v },
	"is":         strings.EqualFold,
	"lt":         func(c, v string) bool { return compare(c, v) < 0 },
	"lte":        func(c, v string) bool { return compare(c, v) <= 0 },
	"gt":         func(c, v string) bool { return compare(c, v) > 0 },
	"gte":        func(c, v string) bool { return compare(c, v) >= 0 },
	"in": func(c, v string) bool {
		return slices.Contains(strings.Split(strings.Trim(v, "()"), ","), c)
	},
	"like":   func(c, v string) bool { return matches(likePattern(v), c) },
	"ilike":  func(c, v string) bool { return matches("(?i)"+likePattern(v), c) },
	"match":  func(c, v string) bool { return matches(v, c) },
	"imatch": func(c, v string) bool { return matches("(?i)"+v, c) },
}

// compare compares numbers as numbers, and anything else as text.
func compare(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(a, b)
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func matches(pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(text)
}

// likePattern is the regular expression of a pattern of SQL.
func likePattern(like string) string {
	return "^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(like)) + "$"
}

// commas are those between filters, and not the ones between parentheses.
var commas = regexp.MustCompile(`(?:\([^)]*\)|[^,])+|^$|,(?:,|$)`)

// parseFilters reads filters that all have to hold, with commas between them; why says what is wrong.
func parseFilters(text string) (filters []filter, why string) {
	for _, part := range commas.FindAllString(text, -1) {
		column, rest, ok := strings.Cut(strings.TrimSpace(part), "=")
		f := filter{column: column}
		rest, f.negated = strings.CutPrefix(rest, "not.")
		var dotted bool
		f.operator, f.value, dotted = strings.Cut(rest, ".")
		switch {
		case !ok:
			return nil, fmt.Sprintf("[%q]", part)
		case !dotted:
			return nil, fmt.Sprintf("[%q]", rest)
		case operators[f.operator] == nil:
			return nil, fmt.Sprintf("[%q, %q]", f.operator, f.value)
		case f.operator == "in" && !(strings.HasPrefix(f.value, "(") && strings.HasSuffix(f.value, ")")):
			return nil, "`in` filter value must be wrapped by parentheses"
		}
		filters = append(filters, f)
	}
	return filters, ""
}

// A Change is one of a row in the database.
type Change struct {
	Type          string // INSERT, UPDATE or DELETE
	Schema, Table string
	// Record is the row as it is, of an insert or an update, and Old as it was, of an update or a delete.
	Record, Old phoenixtest.Map
}

// wants tells whether a change is one of the subscription.
func (s *subscription) wants(c Change) bool {
	any := func(asked, is string) bool { return asked == "*" || asked == is }
	if !any(s.event, c.Type) || !any(s.schema, c.Schema) || !any(s.table, c.Table) {
		return false
	}
	row := c.Record
	if c.Type == "DELETE" {
		row = c.Old
	}
	for _, f := range s.filters {
		if operators[f.operator](columnText(row[f.column]), f.value) == f.negated {
			return false
		}
	}
	return true
}

// columnText is a value as a filter spells it.
func columnText(v any) string {
	text := string(phoenixtest.JSON(v).Bytes())
	var s string
	if json.Unmarshal([]byte(text), &s) == nil && text != "null" {
		return s
	}
	return text
}

// Change sends a change to everybody who is subscribed to it, and live. What comes while a client is not is lost for it.
func (p *Project) Change(c Change) {
	data := changeData(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, channels := range p.places {
		for _, ch := range channels {
			var ids []uint32
			for _, s := range ch.subscriptions {
				if ch.live && s.wants(c) {
					ids = append([]uint32{s.id}, ids...) // the server has them the other way round, too
				}
			}
			switch {
			case ids == nil:
			case ch.params.newAPI:
				ch.sock.Deliver("postgres_changes", phoenixtest.Map{"ids": ids, "data": data})
			default:
				ch.sock.Deliver(c.Type, data)
			}
		}
	}
}

func changeData(c Change) phoenixtest.Payload {
	row := c.Record
	if c.Type == "DELETE" {
		row = c.Old
	}
	columns := []phoenixtest.Map{}
	for _, name := range slices.Sorted(maps.Keys(row)) {
		columns = append(columns, phoenixtest.Map{"name": name, "type": columnType(row[name])})
	}
	data := phoenixtest.Map{
		"columns":          columns,
		"commit_timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		"errors":           nil,
		"schema":           c.Schema,
		"table":            c.Table,
		"type":             c.Type,
	}
	if c.Type != "DELETE" {
		data["record"] = c.Record
	}
	if c.Type != "INSERT" {
		data["old_record"] = c.Old
	}
	return phoenixtest.JSON(data)
}

// columnType guesses what Postgres would call a column with such a value.
func columnType(v any) string {
	switch text := string(phoenixtest.JSON(v).Bytes()); {
	case text == "true" || text == "false":
		return "bool"
	case strings.HasPrefix(text, `"`) || text == "null":
		return "text"
	case strings.HasPrefix(text, "{") || strings.HasPrefix(text, "["):
		return "jsonb"
	case strings.Contains(text, "."):
		return "float8"
	}
	return "int8"
}

// subscribePostgres is the subscription of a channel to Postgres, which is tried when a timer says so.
func (ch *channel) subscribePostgres() {
	failure := ch.project.subscriptionFailure(ch.subscriptions)
	switch {
	case failure == nil:
		ch.setLive(true)
		ch.system("postgres_changes", "ok", "Subscribed to PostgreSQL")
	default:
		ch.system("postgres_changes", "error", failure.message)
		if !failure.final {
			ch.subscribeAfter(ch.project.cfg.RetryAfter)
		}
	}
}

// A subscriptionFailure is how a subscription to Postgres fails.
type subscriptionFailure struct {
	message string
	final   bool
	times   int
}

// subscriptionFailure is the next failure of subscriptions, nil if they are good.
func (p *Project) subscriptionFailure(all []subscription) *subscriptionFailure {
	for _, s := range all {
		if s.malformed != "" {
			return &subscriptionFailure{message: s.malformed, final: true}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure.times == 0 {
		return nil
	}
	p.failure.times--
	failure := p.failure
	return &failure
}

// FailSubscriptions lets the next subscriptions to Postgres fail, so many times. They are tried again, unless it is final.
func (p *Project) FailSubscriptions(message string, final bool, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = subscriptionFailure{message: message, final: final, times: times}
}

// RestartPostgres does what a restart of the replication from Postgres does: clients miss changes, until they are told once more that they are
// subscribed.
func (p *Project) RestartPostgres() {
	p.each("", func(ch *channel) {
		if len(ch.subscriptions) > 0 {
			ch.live = false
			ch.sock.Send(postgresDown{})
		}
	})
}

// subscriptionsReply is what the reply of a join says about them: what was asked for, each with its id before it.
func subscriptionsReply(all []subscription) []json.RawMessage {
	list := []json.RawMessage{}
	for _, s := range all {
		list = append(list, prepend(fmt.Sprintf(`"id":%d`, s.id), phoenixtest.JSON(s.raw).Bytes()))
	}
	return list
}
