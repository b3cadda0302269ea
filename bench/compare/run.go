package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kringdb/kring/bench"
)

// Config is a comparison.
type Config struct {
	Systems   []System
	Rounds    int
	Duration  time.Duration // of the measured part of a step
	WarmUp    time.Duration
	Keys      uint64
	ValueSize int
	Seed      uint64
	Dir       string // for the servers' data, on a disk
	Binaries  string // directory of the peers' servers
	// Start makes a turn of a system.
	Start func(System) (Turn, error)
	// Progress is told what happens; nil: nobody.
	Progress func(line string)
}

// Validate says what is wrong and what to write instead.
func (c *Config) Validate() error {
	switch {
	case len(c.Systems) == 0 || c.Start == nil:
		return errors.New("a comparison needs systems")
	case c.Rounds < 1 || c.Keys < 1 || c.ValueSize < bench.MinValueSize:
		return fmt.Errorf("a comparison needs 1 round or more, 1 key or more, and values of %d bytes or more", bench.MinValueSize)
	case c.Duration <= 0 || c.WarmUp < 0:
		return errors.New("the duration must be above 0, and the warm-up not negative")
	}
	return nil
}

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// Run measures all systems in every round, odd rounds in their order and even ones in the reverse. It ends with the first
// failure: what cannot be measured in every round is not compared.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := newReport(&c)
	for round := 1; round <= c.Rounds; round++ {
		order := slices.Clone(c.Systems)
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := c.turn(ctx, r, round, s); err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round, s.Name, err)
			}
		}
	}
	r.Elapsed = time.Since(r.Started).Seconds()
	return r, r.compare()
}

// turn starts, loads, measures and stops one system.
func (c *Config) turn(ctx context.Context, r *Report, round int, s System) (err error) {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	dir := filepath.Join(c.Dir, fmt.Sprintf("%d-%s", round, s.Name))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir) // else its logs may tell why
		}
	}()
	t, err := c.Start(s)
	if err != nil {
		return err
	}
	defer func() {
		if closing := t.Close(); err == nil { // one that failed or was interrupted has said so
			err = closing
		}
	}()
	opened, err := t.Begin(ctx, Setup{
		System: s.Name, Dir: dir, Binaries: c.Binaries, Keys: c.Keys, ValueSize: c.ValueSize, Seed: c.Seed,
	})
	if err != nil {
		return err
	}
	r.opened(s, opened)
	c.say("round %d of %d: %s runs, %.0f keys loaded a second", round, c.Rounds, s.Name, opened.LoadedPerSecond)
	for _, step := range steps {
		if !slices.Contains(s.Steps, step.Name) {
			continue
		}
		step.Duration, step.WarmUp = c.Duration, c.WarmUp
		if len(step.halfOf) > 0 {
			if step.Rate = r.halfOfPeak(step); step.Rate == 0 {
				c.say("%-16s %-8s left out: it takes %s's peak rate, which was not measured", s.Name, step.Name, reference)
				continue
			}
		}
		result, err := t.Do(ctx, step)
		if err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		f := newFigures(round, result)
		r.add(s, step, f, result)
		c.say("%-16s %-8s %s", s.Name, step.Name, f)
	}
	return nil
}
