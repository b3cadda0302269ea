package coordinator

import (
	"context"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands the records of raft and its log to slog. Its debug and info lines become debug: what an operator needs
// to know of them, this package says itself.
type raftLogger struct {
	hclog.Logger // answers what is not overridden, and writes nothing
	out          *slog.Logger
	name         string
}

func newRaftLogger(out *slog.Logger) hclog.Logger {
	return raftLogger{Logger: hclog.NewNullLogger(), out: out, name: "raft"}
}

func (l raftLogger) Log(level hclog.Level, text string, args ...any) {
	to := slog.LevelDebug
	switch {
	case level >= hclog.Error:
		to = slog.LevelWarn // raft calls an unreachable peer an error
	case level == hclog.Warn:
		to = slog.LevelInfo
	}
	l.out.Log(context.Background(), to, l.name+": "+text, args...)
}

func (l raftLogger) Trace(string, ...any)             {}
func (l raftLogger) Debug(text string, args ...any)   { l.Log(hclog.Debug, text, args...) }
func (l raftLogger) Info(text string, args ...any)    { l.Log(hclog.Info, text, args...) }
func (l raftLogger) Warn(text string, args ...any)    { l.Log(hclog.Warn, text, args...) }
func (l raftLogger) Error(text string, args ...any)   { l.Log(hclog.Error, text, args...) }
func (l raftLogger) With(args ...any) hclog.Logger    { l.out = l.out.With(args...); return l }
func (l raftLogger) ImpliedArgs() []any               { return nil }
func (l raftLogger) Name() string                     { return l.name }
func (l raftLogger) Named(name string) hclog.Logger   { l.name += "." + name; return l }
func (l raftLogger) ResetNamed(n string) hclog.Logger { l.name = n; return l }
