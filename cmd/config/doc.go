// Package config is the one model of what can be set: each [Option] is declared once, with its flag, its environment
// variable, its default and its help, and resolved by one rule, flag before environment before default.
//
// The options of a connection end in [Connection], which makes the [phoenix.Options]; those of printing in [Output], those of
// logging in [Logging].
//
// Texts of options marked Secret appear in no error: neither a wrong one nor one that could not be used.
package config
