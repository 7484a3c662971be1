// Package strictyaml reads YAML that people write, and holds them to it: a key that nobody knows, a key given twice, a value of the
// wrong kind is an [Error] that says where. String values may refer to variables: ${VAR}, ${VAR:-default}, ${VAR:?message}, and
// $$ for a dollar sign.
//
// A file is parsed whole, but a value is interpolated when it is asked for: the connection of a file that one machine uses need
// not have the variables that the others' connections refer to.
//
// Errors never repeat a value, because it may be a secret. What is a secret and what is not, only the caller knows.
package strictyaml
