package faults

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// registerKind is a kind of operation on a register.
type registerKind uint8

const (
	registerGet registerKind = iota
	registerPut
	registerCAS
	registerDelete
)

var registerKinds = [...]string{kindGet, kindPut, kindCAS, kindDelete}

func (k registerKind) String() string { return registerKinds[k] }

// registerOp is one operation on a register with what came of it. Values are told apart by a number that no other write has.
type registerOp struct {
	client    int
	kind      registerKind
	call, ret time.Duration
	outcome   Outcome
	value     uint64 // written; of a get: read
	expect    uint64 // CAS: the version expected, 0 for absent
	version   uint64 // of what was written or read; of a failed condition: the current one. 0: not known, or absent
	refused   bool   // CAS: the condition did not hold
	absent    bool   // get: there was nothing
}

func (o registerOp) String() string {
	what := fmt.Sprintf("client %d %v–%v %s", o.client, o.call, o.ret, o.kind)
	switch {
	case o.kind == registerGet && o.absent:
		return what + " → absent"
	case o.kind == registerGet:
		return fmt.Sprintf("%s → value %d at version %d", what, o.value, o.version)
	case o.kind == registerCAS && o.refused:
		return fmt.Sprintf("%s over version %d → refused, it is at %d", what, o.expect, o.version)
	case o.kind == registerCAS:
		what = fmt.Sprintf("%s over version %d", what, o.expect)
	case o.kind == registerDelete:
		return fmt.Sprintf("%s → %s", what, o.outcome)
	}
	return fmt.Sprintf("%s of value %d → %s, version %d", what, o.value, o.outcome, o.version)
}

// register is the model's state. The version is kept for absent keys too: versions never go back.
type register struct {
	exists  bool
	value   uint64
	version uint64
	// open: the version is not known, only that it is above version. It comes from a write of unknown outcome.
	open bool
}

// is reports whether the register may be at version v, and how it is then.
func (r register) is(v uint64) (register, bool) {
	switch {
	case !r.exists:
		return r, v == 0
	case r.open && v > r.version:
		r.version, r.open = v, false
		return r, true
	}
	return r, !r.open && v == r.version && v != 0
}

// write makes the register hold what o wrote.
func (r register) write(o registerOp) (bool, register) {
	if o.version == 0 {
		return true, register{exists: true, value: o.value, version: r.version, open: true}
	}
	return o.version > r.version, register{exists: true, value: o.value, version: o.version}
}

func stepRegister(r register, o registerOp) (bool, register) {
	switch o.kind {
	case registerGet:
		if o.absent {
			return !r.exists, r
		}
		if !r.exists || r.value != o.value {
			return false, r
		}
		next, ok := r.is(o.version)
		return ok, next
	case registerDelete:
		return true, register{version: r.version}
	case registerCAS:
		return stepCAS(r, o)
	}
	return r.write(o)
}

func stepCAS(r register, o registerOp) (bool, register) {
	if o.refused {
		next, ok := r.is(o.version)
		return ok && o.version != o.expect, next
	}
	next, holds := r.is(o.expect)
	switch {
	case holds:
		return next.write(o)
	case o.outcome == Unknown:
		return true, r // it was refused, and the answer was lost
	}
	return false, r
}

var registerModel = porcupine.Model{
	Init: func() any { return register{} },
	StepContext: func(_ context.Context, state, input, _ any) (bool, any) {
		ok, next := stepRegister(state.(register), input.(registerOp))
		return ok, next
	},
	Step: func(state, input, _ any) (bool, any) {
		ok, next := stepRegister(state.(register), input.(registerOp))
		return ok, next
	},
}

// resolve takes out of a history what cannot be told apart: failed operations had no effect; a write of unknown outcome that
// somebody read has happened by then, at the version that was read; one that nobody can have seen may as well have come last,
// where it changes nothing.
func resolve(history []registerOp) []registerOp {
	seen, written := make(map[uint64]registerOp), make(map[uint64]bool)
	for _, o := range history {
		switch {
		case o.kind == registerGet && o.outcome == OK && !o.absent:
			if first, ok := seen[o.value]; !ok || o.ret < first.ret {
				seen[o.value] = o
			}
			written[o.version] = true
		case o.outcome == OK && !o.refused:
			written[o.version] = true
		}
	}
	// A version that only a refusal has told of, or a swap over it, belongs to a write that nobody read.
	stray := slices.ContainsFunc(history, func(o registerOp) bool {
		swapped := o.kind == registerCAS && o.outcome == OK && !o.refused
		return o.refused && o.version != 0 && !written[o.version] || swapped && o.expect != 0 && !written[o.expect]
	})
	kept := make([]registerOp, 0, len(history))
	for _, o := range history {
		switch {
		case o.outcome == Failed && !o.refused, o.kind == registerGet && o.outcome != OK:
			continue
		case o.outcome == Unknown && o.kind == registerDelete:
			o.ret = math.MaxInt64
		case o.outcome == Unknown:
			if read, ok := seen[o.value]; ok {
				o.outcome, o.version, o.ret = OK, read.version, read.ret
			} else if stray {
				o.ret = math.MaxInt64
			} else {
				continue
			}
		}
		kept = append(kept, o)
	}
	return kept
}

// judgement of a history.
type judgement string

const (
	linearizable    judgement = "linearizable"
	notLinearizable judgement = "not linearizable"
	notJudged       judgement = "not judged in time"
)

// judgeRegister decides whether the history of one key, which was absent before, is linearizable. It gives up after limit.
func judgeRegister(history []registerOp, limit time.Duration) judgement {
	kept := resolve(history)
	operations := make([]porcupine.Operation, len(kept))
	for i, o := range kept {
		operations[i] = porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.call), Return: int64(o.ret)}
	}
	switch porcupine.CheckOperationsTimeout(registerModel, operations, limit) {
	case porcupine.Ok:
		return linearizable
	case porcupine.Illegal:
		return notLinearizable
	default:
		return notJudged
	}
}

// versionsRise checks that of two operations of which one ended before the other began, the later never tells of a lower
// version, nor a later write of the same; it gives the first pair for which that is not so.
func versionsRise(history []registerOp) (earlier, later registerOp, ok bool) {
	var told []registerOp
	for _, o := range history {
		if o.outcome == OK && !o.refused && o.version != 0 {
			told = append(told, o)
		}
	}
	byReturn := slices.Clone(told)
	slices.SortFunc(byReturn, func(a, b registerOp) int { return int(a.ret - b.ret) })
	slices.SortFunc(told, func(a, b registerOp) int { return int(a.call - b.call) })
	var newest registerOp // the highest version told of before the operation at hand began
	next := 0
	for _, o := range told {
		for next < len(byReturn) && byReturn[next].ret < o.call {
			if byReturn[next].version > newest.version {
				newest = byReturn[next]
			}
			next++
		}
		if o.version < newest.version || o.version == newest.version && o.kind != registerGet {
			return newest, o, false
		}
	}
	return registerOp{}, registerOp{}, true
}
