package cmd

import (
	"bytes"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/phoenix"
	"phx/signal"
)

// formatAbout says what each format is for.
var formatAbout = map[signal.Format]string{
	signal.FormatSignal:      "The default. `phx help signals` explains it.",
	signal.FormatCloudEvents: "A CloudEvent 1.0, strictly: what is metadata elsewhere are extension attributes.",
	signal.FormatJido:        "As Jido.Signal decodes it: metadata is under extensions.",
	signal.FormatPayload:     "Only the payload of a message or a reply, or the response of a join; other signals print nothing.",
}

// exampleMessage is the message that the page shows in each format.
var exampleMessage = phoenix.Event{
	Time: time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC), Seq: 6, Session: 1,
	Topic: "room:lobby", Name: "new_msg", JoinRef: "3", Payload: phoenix.JSON(`{"body":"hi","n":1.0}`), Detail: phoenix.Message{},
}

// exampleID stands for the id of an example, which is another one in each process.
const exampleID = "01952f0e-8a00-7000-8000-000000000006"

// A commandExample is a command, to be run against `phx demo`, with what it prints.
type commandExample struct{ command, output string }

// exampleColumn is where examples begin.
const exampleColumn = 8

// formattingExamples has one for each option of printing.
var formattingExamples = map[string]commandExample{
	"output":      {`phx push room:lobby echo '{"body":"hi"}' -o payload`, `{"body":"hi"}`},
	"jq":          {`phx push room:lobby echo '{"body":"hi"}' -q '[.subject, .data.status]'`, `["room:lobby","ok"]`},
	"raw-output":  {`phx push room:lobby echo '{"body":"hi"}' -q .data.payload.body -r`, `hi`},
	"exit-status": {`phx push room:lobby echo '{"n":1}' -q '.data.payload.n > 5' -e || echo 'not yet'`, "false\nnot yet"},
	"pretty":      {`phx push room:lobby echo '{"n":1.0}' -o payload --pretty`, "{\n  \"n\": 1.0\n}"},
	"compact":     {`phx push room:lobby echo '{"n":1.0}' -o payload --compact`, `{"n":1.0}`},
	"color":       {`phx push room:lobby echo '{"n":1.0}' -o payload --color never`, `{"n":1.0}`},
}

// formattingHelp is the text of `phx help formatting`.
func formattingHelp() string {
	p := &page{}
	p.say("How phx prints records.")
	p.say("stdout has records and nothing else: one JSON text a line, unless it is indented for a terminal. White space, colours and " +
		"the spelling of control characters depend on the output; what is printed does not. All else is on stderr.")
	p.head("Options of the commands that print records")
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	config.NewSet((&config.Output{}).Options()).Bind(flags)
	flags.VisitAll(p.option)
	p.say("--jq sees what --output would print. `phx ctl` prints what phx serve answers, with the same options.")
	p.head("Formats, each with the same message, indented")
	for i, name := range signal.Formats() {
		format := signal.Format(i)
		p.gap()
		p.item(15, name, formatAbout[format])
		p.block(exampleColumn, formatExample(format))
	}
	return p.String()
}

// option adds a flag with its example.
func (p *page) option(f *pflag.Flag) {
	name, usage := pflag.UnquoteUsage(f)
	heading := "--" + f.Name
	if f.Shorthand != "" {
		heading = "-" + f.Shorthand + ", " + heading
	}
	p.gap()
	p.WriteString("  " + strings.TrimRight(heading+" "+name, " ") + "\n")
	p.wrap(6, usage)
	example := formattingExamples[f.Name]
	p.block(exampleColumn, "$ "+example.command+"\n"+example.output+"\n")
}

// formatExample returns the example message in a format, indented.
func formatExample(format signal.Format) string {
	line := signal.NewEncoder(format, "backend").Append(nil, &exampleMessage)
	if _, behind, found := bytes.Cut(line, []byte(`"id":"`)); found {
		copy(behind, exampleID)
	}
	return string(look{indent: true}.append(nil, bytes.TrimSuffix(line, []byte("\n"))))
}
