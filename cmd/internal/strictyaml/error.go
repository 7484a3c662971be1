package strictyaml

import "strconv"

// An Error says what is wrong with a file, and where.
type Error struct {
	// File is its name; Line and Column count from 1. A Column of 0 is unknown: the file is no YAML at all.
	File         string
	Line, Column int
	// Message says what is wrong, Advice what would be right.
	Message, Advice string
}

// Error returns FILE:LINE:COLUMN: message.
func (e *Error) Error() string { return position(e.File, e.Line, e.Column) + ": " + e.Message }

// Hint returns the advice.
func (e *Error) Hint() string { return e.Advice }

// ExitCode is that of a wrong configuration.
func (e *Error) ExitCode() int { return 2 }

// position is how editors and terminals understand a place in a file.
func position(file string, line, column int) string {
	text := file + ":" + strconv.Itoa(line)
	if column > 0 {
		text += ":" + strconv.Itoa(column)
	}
	return text
}
