// Package exit gives every way in which a command can end its exit code.
package exit

import (
	"errors"
	"fmt"
)

// The exit codes of kring; scripts depend on them.
const (
	OK                 = 0
	Failed             = 1
	Usage              = 2
	NotFound           = 3
	PreconditionFailed = 4
	OutcomeUnknown     = 5 // a mutation that may have happened, or may yet
)

// codedError is an error that ends the process with a code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// With gives err the exit code; nil stays nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

// Usagef makes an error of somebody who called the command wrongly: says what is wrong and what to write instead.
func Usagef(format string, args ...any) error {
	return &codedError{code: Usage, err: fmt.Errorf(format, args...)}
}

// Code is the exit code for err: OK for nil, Failed for an error without one.
func Code(err error) int {
	if err == nil {
		return OK
	}
	var e *codedError
	if errors.As(err, &e) {
		return e.code
	}
	return Failed
}
