// Package config is the one model of what can be set: each [Option] is declared once, with its flag, its environment
// variable, its key in a config file, its default and its help, and resolved by one rule, that of [Set.Resolve].
//
// A config file is a [File] of named connections. A [Selection] chooses one of them, an [Entry], which a [Set] then uses. The keys
// that a connection can have are those that the options declare.
//
// The options of a connection end in [Connection], which makes the [phoenix.Options]; those of printing in [Output], those of
// logging in [Logging].
//
// What a server of connections needs is read by [File.Serve], and each connection by [Entry.Resolve]; [Validate] does both, and
// [File.Show] writes what they come to. [Schema] is made of the options that all of them read with. They report all that is wrong at
// once, each with its place, and speak of keys, not of flags.
//
// Texts of options marked Secret appear in no error: neither a wrong one nor one that could not be used.
package config
