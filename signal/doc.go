// Package signal turns events of package phoenix into lines of bytes: one event, one line, format
// beside format.
//
// The default format is the signal, a JSON object in the shape of a CloudEvent with a metadata
// member:
//
//	{"specversion":"1.0","id":"01952f0e-8a00-7000-8000-000000000006","source":"/jidoka/phoenix/backend",
//	 "type":"phoenix.backend.room_lobby.new_msg","subject":"room:lobby","time":"2026-02-07T12:00:06.123456Z",
//	 "datacontenttype":"application/json","data":{"payload":{"body":"hi"}},
//	 "metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new_msg","session":1,"seq":6}}
//
// (on one line). What a server wrote as payload is passed through byte by byte and never decoded:
// key order, number spelling, escapes and duplicate keys are those of the server. Only line breaks
// between tokens are removed.
//
// [FormatCloudEvents] and [FormatJido] hold the same, arranged for other readers: data is the same
// object, byte for byte, and metadata has another place. [FormatPayload] is the payload alone.
//
// An [Encoder] belongs to one connection and one format and keeps what repeats from line to line,
// so that a message costs a few copies and no allocation.
//
// # Compatibility
//
// What this package prints only grows. Once released, a type, a member of data or of metadata, a
// reason or a format keeps its name, its JSON type, its unit and its meaning; new ones may be
// added at any time, so a reader has to ignore what it does not know. The order of members, and
// which random bits an id has, are not promised.
package signal
