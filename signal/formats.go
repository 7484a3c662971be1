package signal

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"phx/phoenix"
)

// A Format is a way to write events as lines. The zero Format is FormatSignal.
type Format uint8

// The formats.
const (
	// FormatSignal is the default: one JSON object with the whole of the event.
	FormatSignal Format = iota
	// FormatCloudEvents is a CloudEvent 1.0 in the JSON format, and strictly so. In place of
	// metadata it has the extension attributes phxconnection, phxepoch, phxtopic, phxevent, phxref,
	// phxjoinref, phxbroadcastevent, phxsession and sequence. phxepoch and phxsession are Integers, or Strings where they
	// are more than 2147483647; sequence is a String of ten digits, or more where it needs them. Those
	// that are empty, or 0, are left out, but for phxsession.
	//
	// A CloudEvents String may not hold control characters and noncharacters. If subject, phxtopic,
	// phxevent, phxref, phxjoinref or phxbroadcastevent would, or would be nothing but white space,
	// then phxenc is "pct", and in all six of them these characters and '%' are percent-encoded.
	// Without phxenc a '%' is a '%'.
	FormatCloudEvents
	// FormatJido is FormatSignal as the decoder of Jido.Signal 2.x wants it: specversion is
	// "1.0.2", and metadata is a member of extensions.
	FormatJido
	// FormatPayload is only the payload of messages, replies and answered joins, as it came.
	FormatPayload
)

var formatNames = [...]string{
	FormatSignal:      "signal",
	FormatCloudEvents: "cloudevents",
	FormatJido:        "jido",
	FormatPayload:     "payload",
}

// Formats returns the names that [ParseFormat] knows, the default first.
func Formats() []string { return slices.Clone(formatNames[:]) }

// ParseFormat returns the format called s. The error for any other s names the formats there are.
func ParseFormat(s string) (Format, error) {
	i := slices.Index(formatNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("unknown format %q; there are: %s", s, strings.Join(formatNames[:], ", "))
	}
	return Format(i), nil
}

// String returns the name of f.
func (f Format) String() string {
	if int(f) >= len(formatNames) {
		return fmt.Sprintf("Format(%d)", uint8(f))
	}
	return formatNames[f]
}

// cloudEventsLayout is FormatCloudEvents: version 1.0 of the CloudEvents specification and of its
// JSON format, and nothing that they do not know. The members of metadata are extension
// attributes, each of a type of CloudEvents:
//
//   - sequence is that of the extension called Sequence, a String whose order is that of the
//     signals: ten digits with leading zeros. Past 9,999,999,999 it has the digits it needs: still
//     unique, no longer ordered as text.
//   - phxsession and phxepoch are Integers, which have 32 bits and a sign in CloudEvents. A number
//     that does not fit is a String.
//   - All others are Strings. An attribute must not be empty: what is, is left out.
//
// See https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system and
// https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sequence.md.
var cloudEventsLayout = layout{
	start:   `{"specversion":"1.0","id":"`,
	context: `},"phxconnection":`,
	epoch:   "phxepoch",
	topic:   "phxtopic",
	event:   "phxevent",
	end:     "}\n",
	strict:  true,
}

// appendAttributes appends the extension attributes that a template's tail does not have.
func appendAttributes(dst []byte, ev *phoenix.Event, encoded bool) []byte {
	dst = appendAttribute(dst, "phxref", ev.Ref, encoded)
	dst = appendAttribute(dst, "phxjoinref", ev.JoinRef, encoded)
	if ev.Broadcast != nil {
		dst = appendAttribute(dst, "phxbroadcastevent", ev.Broadcast.Event, encoded)
	}
	if ev.Session > math.MaxInt32 {
		dst = appendText(dst, "phxsession", strconv.Itoa(ev.Session))
	} else {
		dst = strconv.AppendInt(append(dst, `,"phxsession":`...), int64(ev.Session), 10)
	}
	return appendSequence(append(dst, `,"sequence":`...), ev.Seq)
}

// appendAttribute appends a string attribute, unless it is empty.
func appendAttribute(dst []byte, name, value string, encoded bool) []byte {
	switch {
	case value == "":
		return dst
	case encoded:
		return appendEncoded(appendName(dst, name), value)
	}
	return appendText(dst, name, value)
}

// encodingMark says that subject, phxtopic, phxevent, phxref, phxjoinref and phxbroadcastevent of its line are
// percent-encoded, all of them: a '%' in any of them begins an encoded byte.
const encodingMark = `,"phxenc":"pct"`

// needsEncoding reports whether s cannot be a CloudEvents String as it is. A string of white space
// alone can by the letter of the specification, but it does not survive in an HTTP header, and the
// SDKs take it for empty.
func needsEncoding(s string) bool {
	for _, r := range s {
		if !allowedInString(r) {
			return true
		}
	}
	return s != "" && strings.TrimSpace(s) == ""
}

// allowedInString reports whether a CloudEvents String may hold r: no control character and no
// noncharacter of Unicode. Surrogates, which it may not hold either, are no runes of a Go string.
func allowedInString(r rune) bool {
	switch {
	case r < ' ', 0x7f <= r && r <= 0x9f:
		return false
	case 0xfdd0 <= r && r <= 0xfdef, r&0xfffe == 0xfffe: // the last two of each plane
		return false
	}
	return true
}

// appendEncoded appends s as a JSON string in which '%' and what a CloudEvents String may not hold
// are percent-encoded: "%" and two hexadecimal digits for each byte of UTF-8 (RFC 3986, section
// 2.1). Of white space alone nothing is left as it is. Bytes that are not UTF-8 become U+FFFD, as
// in all formats.
func appendEncoded(dst []byte, s string) []byte {
	blank := strings.TrimSpace(s) == ""
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case blank || r == '%' || !allowedInString(r):
			var text [utf8.UTFMax]byte
			for _, c := range text[:utf8.EncodeRune(text[:], r)] {
				dst = append(dst, '%', upperHex[c>>4], upperHex[c&0xf])
			}
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

const upperHex = "0123456789ABCDEF"

// appendSequence appends seq as a JSON string of at least ten digits.
func appendSequence(dst []byte, seq uint64) []byte {
	dst = append(dst, '"')
	for power := uint64(1e9); power > seq && power > 1; power /= 10 {
		dst = append(dst, '0')
	}
	return append(strconv.AppendUint(dst, seq, 10), '"')
}

// jidoLayout is FormatJido: what Jido.Signal.deserialize/2 makes a %Jido.Signal{} of, in the 2.x
// releases of jido_signal.
//
//   - specversion has to be "1.0.2": parse_specversion/1 of lib/jido_signal.ex refuses any other.
//   - Members that it does not know are stripped (signal_schema/0 of
//     lib/jido_signal/serialization/schema.ex), metadata among them; extensions may be any object.
//     There metadata has the place which Jido.Signal.new/1 gives it, extensions["metadata"].
//   - data, if any, has to be an object, and subject, if any, not empty. Both are so in every
//     format.
//
// See https://github.com/agentjido/jido_signal/tree/v2.2.2. What is developed there after 2.2.2
// keeps to CloudEvents, and wants FormatCloudEvents.
var jidoLayout = layout{
	start:   `{"specversion":"1.0.2","id":"`,
	context: `},"extensions":{"metadata":{"connection_name":`,
	epoch:   signalLayout.epoch,
	topic:   signalLayout.topic,
	event:   signalLayout.event,
	end:     "}}}\n",
}

// appendPayloadLine is FormatPayload: the payload of a message or of a reply, the response of a
// join, nothing for anything else.
func appendPayloadLine(dst []byte, ev *phoenix.Event) []byte {
	switch ev.Detail.(type) {
	case *phoenix.Message, *phoenix.PushReply, *phoenix.Joined, *phoenix.JoinError:
	default:
		return dst
	}
	if ev.Payload.Data == nil {
		return dst
	}
	return append(appendPayload(dst, &ev.Payload), '\n')
}
