// Package jsonstream splits an input into its values: concatenated JSON values with [Reader], or lines with [Lines].
//
// A value is returned when its last byte has been read, so that a program at the other end of a pipe can wait for what comes
// of it before it writes the next one. It is returned byte for byte: a number keeps its spelling and an object its order
// and duplicate keys.
//
// This is not json.Decoder, which waits for the byte after a string or a literal, and takes invalid UTF-8.
package jsonstream
