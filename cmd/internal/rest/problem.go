package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/kringdb/kring/cmd/internal/exit"
)

var (
	// ErrUnreachable means that no gateway answered; nothing was changed.
	ErrUnreachable = errors.New("no gateway could be reached (kring dev starts a cluster; --addr or KRING_ADDR says where another is)")
	// ErrOutcomeUnknown means that the connection broke after a mutation was sent.
	ErrOutcomeUnknown = errors.New("the connection broke before the answer came, the change may or may not have happened")
)

// Problem is an error as a gateway tells it (RFC 9457).
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Retryable bool   `json:"retryable"`
	Outcome   string `json:"outcome"` // "none" or "unknown"
}

func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = http.StatusText(p.Status)
	}
	if p.Code == "" {
		return fmt.Sprintf("answered %d %s without a code of Kring's: is it a Kring gateway?", p.Status, text)
	}
	return fmt.Sprintf("%s (%d %s)", text, p.Status, p.Code)
}

// Codes of problems with exit codes of their own.
const (
	codeNotFound           = "not_found"
	codePreconditionFailed = "precondition_failed"
)

// problemOf reads the error body; one that is no problem (a proxy's) gives its status only.
func problemOf(response *http.Response) *Problem {
	p := &Problem{}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil || json.Unmarshal(body, p) != nil {
		p = &Problem{}
	}
	p.Status = response.StatusCode
	return p
}

// ExitCode is how a command ends whose call got err.
func ExitCode(err error) int {
	var p *Problem
	switch {
	case err == nil:
		return exit.OK
	case errors.As(err, &p):
		return p.exitCode()
	case errors.Is(err, ErrOutcomeUnknown):
		return exit.OutcomeUnknown
	}
	return exit.Failed
}

func (p *Problem) exitCode() int {
	switch {
	case p.Outcome == "unknown":
		return exit.OutcomeUnknown
	case p.Code == codeNotFound: // and no other 404: what is no gateway knows nothing of keys
		return exit.NotFound
	case p.Code == codePreconditionFailed:
		return exit.PreconditionFailed
	}
	return exit.Failed
}
