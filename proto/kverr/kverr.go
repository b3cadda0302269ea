// Package kverr is Kring's one error type. It is made where something goes wrong, encoded once at the gRPC edge
// (ToGRPC, FromGRPC), and rendered once at HTTP (package gateway). The list of codes is kringv1.ErrorCode: append only.
package kverr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Code is what went wrong.
type Code = kringv1.ErrorCode

// The codes under short names; see error.proto for what each means.
const (
	Internal            = kringv1.ErrorCode_ERROR_CODE_INTERNAL
	BadRequest          = kringv1.ErrorCode_ERROR_CODE_BAD_REQUEST
	NotFound            = kringv1.ErrorCode_ERROR_CODE_NOT_FOUND
	PreconditionFailed  = kringv1.ErrorCode_ERROR_CODE_PRECONDITION_FAILED
	KeyTooLong          = kringv1.ErrorCode_ERROR_CODE_KEY_TOO_LONG
	ValueTooLarge       = kringv1.ErrorCode_ERROR_CODE_VALUE_TOO_LARGE
	NotPrimary          = kringv1.ErrorCode_ERROR_CODE_NOT_PRIMARY
	Busy                = kringv1.ErrorCode_ERROR_CODE_BUSY
	Unavailable         = kringv1.ErrorCode_ERROR_CODE_UNAVAILABLE
	OutcomeUnknown      = kringv1.ErrorCode_ERROR_CODE_OUTCOME_UNKNOWN
	Deadline            = kringv1.ErrorCode_ERROR_CODE_DEADLINE
	DiskFull            = kringv1.ErrorCode_ERROR_CODE_DISK_FULL
	WrongCluster        = kringv1.ErrorCode_ERROR_CODE_WRONG_CLUSTER
	WrongStore          = kringv1.ErrorCode_ERROR_CODE_WRONG_STORE
	NotLeader           = kringv1.ErrorCode_ERROR_CODE_NOT_LEADER
	StaleEpoch          = kringv1.ErrorCode_ERROR_CODE_STALE_EPOCH
	Conflict            = kringv1.ErrorCode_ERROR_CODE_CONFLICT
	Corrupt             = kringv1.ErrorCode_ERROR_CODE_CORRUPT
	Canceled            = kringv1.ErrorCode_ERROR_CODE_CANCELED
	RequestTooOld       = kringv1.ErrorCode_ERROR_CODE_REQUEST_TOO_OLD
	IdempotencyMismatch = kringv1.ErrorCode_ERROR_CODE_IDEMPOTENCY_MISMATCH
	NotANumber          = kringv1.ErrorCode_ERROR_CODE_NOT_A_NUMBER
)

// Error is a code with a text for people and, for refusals, when to come back.
type Error struct {
	Code       Code
	Message    string        // what happened and what to do; ends without a full stop
	RetryAfter time.Duration // 0: no advice
	Version    uint64        // PreconditionFailed: the key's current version, 0 if absent
}

func (e *Error) Error() string {
	if e.Message == "" {
		return Name(e.Code)
	}
	return Name(e.Code) + ": " + e.Message
}

// Is makes errors.Is(err, kverr.New(code, "")) true for every error of that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// New makes an error.
func New(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Newf makes an error with a formatted text.
func Newf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Retry makes a refusal that names when to come back.
func Retry(code Code, after time.Duration, message string) *Error {
	return &Error{Code: code, Message: message, RetryAfter: after}
}

// CodeOf is err's code: 0 for nil, Deadline and Canceled for context errors, Internal for whatever is not ours.
func CodeOf(err error) Code {
	if err == nil {
		return kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// As is err as an *Error, made from CodeOf where it is none; nil for nil.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeOf(err), Message: err.Error()}
}

// Outcome says what an error means for a mutation.
type Outcome string

// The outcomes.
const (
	OutcomeNone    Outcome = "none"    // nothing was logged: it has not happened and will not
	Unknown        Outcome = "unknown" // it may have happened, or may yet
	OutcomeApplied Outcome = "applied" // it has happened (no error)
)

// traits is what the rest of the system knows of a code.
type traits struct {
	name      string
	grpc      codes.Code
	retryable bool
	outcome   Outcome
}

var table = map[Code]traits{
	Internal:            {"internal", codes.Internal, false, Unknown},
	BadRequest:          {"bad_request", codes.InvalidArgument, false, OutcomeNone},
	NotFound:            {"not_found", codes.NotFound, false, OutcomeNone},
	PreconditionFailed:  {"precondition_failed", codes.FailedPrecondition, false, OutcomeNone},
	KeyTooLong:          {"key_too_long", codes.InvalidArgument, false, OutcomeNone},
	ValueTooLarge:       {"value_too_large", codes.InvalidArgument, false, OutcomeNone},
	NotPrimary:          {"not_primary", codes.Unavailable, true, OutcomeNone},
	Busy:                {"busy", codes.ResourceExhausted, true, OutcomeNone},
	Unavailable:         {"unavailable", codes.Unavailable, true, OutcomeNone},
	OutcomeUnknown:      {"outcome_unknown", codes.Unknown, true, Unknown},
	Deadline:            {"deadline", codes.DeadlineExceeded, true, OutcomeNone},
	DiskFull:            {"disk_full", codes.ResourceExhausted, false, OutcomeNone},
	WrongCluster:        {"wrong_cluster", codes.PermissionDenied, false, OutcomeNone},
	WrongStore:          {"wrong_store", codes.PermissionDenied, false, OutcomeNone},
	NotLeader:           {"not_leader", codes.Unavailable, true, OutcomeNone},
	StaleEpoch:          {"stale_epoch", codes.Aborted, true, OutcomeNone},
	Conflict:            {"conflict", codes.FailedPrecondition, false, OutcomeNone},
	Corrupt:             {"corrupt", codes.DataLoss, false, Unknown},
	Canceled:            {"canceled", codes.Canceled, true, OutcomeNone},
	RequestTooOld:       {"request_too_old", codes.Aborted, true, OutcomeNone},
	IdempotencyMismatch: {"idempotency_mismatch", codes.FailedPrecondition, false, OutcomeNone},
	NotANumber:          {"not_a_number", codes.FailedPrecondition, false, OutcomeNone},
}

// Name is the code's published name: "not_found".
func Name(c Code) string {
	if t, ok := table[c]; ok {
		return t.name
	}
	return "internal"
}

// Retryable reports whether the same request may succeed later.
func Retryable(c Code) bool { return table[c].retryable }

// OutcomeOf says what c means for a mutation that got it.
func OutcomeOf(c Code) Outcome {
	if c == kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED {
		return OutcomeApplied
	}
	if t, ok := table[c]; ok {
		return t.outcome
	}
	return Unknown
}

// ToGRPC encodes err as a gRPC status with our detail; nil stays nil.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	e := As(err)
	s := status.New(grpcCode(e.Code), e.Message)
	d, derr := s.WithDetails(&kringv1.ErrorDetail{
		Code: e.Code, Message: e.Message, RetryAfterMillis: uint32(e.RetryAfter.Milliseconds()),
	})
	if derr != nil {
		return s.Err()
	}
	return d.Err()
}

func grpcCode(c Code) codes.Code {
	if t, ok := table[c]; ok {
		return t.grpc
	}
	return codes.Internal
}

// FromGRPC decodes what ToGRPC made. A status without our detail becomes Unavailable (the other side is not reachable),
// Deadline, Canceled, or Internal; the text is kept. nil stays nil.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return As(err)
	}
	for _, d := range s.Details() {
		if ed, ok := d.(*kringv1.ErrorDetail); ok {
			return &Error{
				Code: ed.GetCode(), Message: ed.GetMessage(),
				RetryAfter: time.Duration(ed.GetRetryAfterMillis()) * time.Millisecond,
			}
		}
	}
	switch s.Code() {
	case codes.Unavailable:
		return New(Unavailable, s.Message())
	case codes.DeadlineExceeded:
		return New(Deadline, s.Message())
	case codes.Canceled:
		return New(Canceled, s.Message())
	}
	return New(Internal, s.Message())
}
