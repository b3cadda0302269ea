package main

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/ring"
)

// defaultAddr is where `kring dev` and `kring gateway` listen unless told otherwise.
const defaultAddr = "http://127.0.0.1:8080"

// Defaults of --timeout.
const (
	callTimeout = 10 * time.Second // of one request
	waitTimeout = time.Minute      // of wait
)

// clientFlags are those of every command that talks to a gateway.
type clientFlags struct {
	addresses []string
	timeout   time.Duration
}

func (f *clientFlags) register(cmd *cobra.Command) { f.registerWith(cmd, callTimeout) }

func (f *clientFlags) registerWith(cmd *cobra.Command, timeout time.Duration) {
	cmd.Flags().StringSliceVar(&f.addresses, "addr", []string{defaultAddr},
		"gateway, or several with commas between, tried in turn")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "how long to wait")
}

// call runs do with a client, for at most --timeout; its errors get their exit codes.
func (f *clientFlags) call(cmd *cobra.Command, do func(ctx context.Context, c *rest.Client) error) error {
	return f.session(cmd, func(ctx context.Context, c *rest.Client) error {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return do(ctx, c)
	})
}

// session is call for as long as do takes; who uses it gives each of its calls --timeout.
func (f *clientFlags) session(cmd *cobra.Command, do func(ctx context.Context, c *rest.Client) error) error {
	if f.timeout <= 0 {
		return exit.Usagef("--timeout %s: must be above 0", f.timeout)
	}
	c, err := rest.New(f.addresses)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer c.Close()
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	if err := do(ctx, c); err != nil {
		if code := exit.Code(err); code != exit.Failed {
			return err
		}
		return exit.With(rest.ExitCode(err), err)
	}
	return nil
}

// keyFlags say how a key is written on the command line.
type keyFlags struct{ base64 bool }

func (f *keyFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.base64, "key-base64", false, "KEY is given in base64 (standard or URL alphabet): any bytes")
}

func (f *keyFlags) key(argument string) ([]byte, error) {
	key := []byte(argument)
	if f.base64 {
		var err error
		if key, err = decodeBase64(argument); err != nil {
			return nil, exit.Usagef("key %q is not base64: %w", argument, err)
		}
	}
	if len(key) == 0 {
		return nil, exit.Usagef("the key is empty: give 1 to %d bytes", ring.MaxKeyBytes)
	}
	if len(key) > ring.MaxKeyBytes {
		return nil, exit.Usagef("the key has %d bytes: at most %d", len(key), ring.MaxKeyBytes)
	}
	return key, nil
}

// decodeBase64 takes both alphabets, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	var first error
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		b, err := encoding.DecodeString(s)
		if err == nil {
			return b, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
