package signal

// jidoLayout is FormatJido: what Jido.Signal.deserialize/2 makes a %Jido.Signal{} of, in the 2.x releases of jido_signal.
//
//   - specversion has to be "1.0.2": parse_specversion/1 of lib/jido_signal.ex refuses any other.
//   - Members that it does not know are stripped (signal_schema/0 of lib/jido_signal/serialization/schema.ex), metadata among them;
//     extensions may be any object. There metadata has the place which Jido.Signal.new/1 gives it, extensions["metadata"].
//   - data, if any, has to be an object, and subject, if any, not empty. Both are so in every format.
//
// See https://github.com/agentjido/jido_signal/tree/v2.2.2. What is developed there after 2.2.2 keeps to CloudEvents, and wants
// FormatCloudEvents.
var jidoLayout = layout{
	start:   `{"specversion":"1.0.2","id":"`,
	context: `},"extensions":{"metadata":{"connection_name":`,
	topic:   signalLayout.topic,
	event:   signalLayout.event,
	end:     "}}}\n",
}
