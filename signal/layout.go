package signal

// A layout is what a format has in its own way: all that surrounds the data, which is the same object in each of them.
type layout struct {
	// start is the line up to the id.
	start string
	// context leads from the end of the data to the connection's name, the first of what is called the context here: the
	// members of metadata, or CloudEvents' extension attributes.
	context string
	// topic and event are the names which those have in the context.
	topic, event string
	// end ends the line.
	end string
	// strict says that the context consists of CloudEvents attributes, which have rules (see format_cloudevents.go).
	strict bool
}

// layouts are those of the formats that print signals.
var layouts = [...]*layout{
	FormatSignal:      &signalLayout,
	FormatCloudEvents: &cloudEventsLayout,
	FormatJido:        &jidoLayout,
	FormatPayload:     nil,
}

// encodes says whether s forces the strings of its line to be percent-encoded.
func (l *layout) encodes(s string) bool { return l.strict && needsEncoding(s) }

// appendRawName appends a raw topic or event as the member called name.
func (l *layout) appendRawName(dst []byte, name, value string, encoded bool) []byte {
	if l.strict {
		return appendAttribute(dst, name, value, encoded)
	}
	return appendText(dst, name, value)
}
