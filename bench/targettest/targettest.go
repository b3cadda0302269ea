// Package targettest is what every bench.Target must do, as one suite of tests.
package targettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// Run tests target, which must be able to serve and hold none of the keys that begin with prefix. It leaves some there.
func Run(t *testing.T, target bench.Target, prefix string) {
	s := &suite{target: target, prefix: prefix}
	t.Run("Describe", func(t *testing.T) {
		if target.Describe().Name == "" {
			t.Error("a target must have a name")
		}
	})
	t.Run("Absent", s.absent)
	t.Run("PutGet", s.putGet)
	t.Run("Delete", s.delete)
	t.Run("CompareAndSwap", s.compareAndSwap)
	t.Run("Values", s.values)
	t.Run("Keys", s.keys)
	t.Run("Buffer", s.buffer)
	t.Run("Concurrent", s.concurrent)
	t.Run("EndedContext", s.endedContext)
}

type suite struct {
	target bench.Target
	prefix string
}

func (s *suite) key(name string) []byte { return []byte(s.prefix + name) }

func (s *suite) put(t *testing.T, key, value []byte) uint64 {
	t.Helper()
	version, err := s.target.Put(t.Context(), key, value)
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return version
}

// wants checks that key holds value, at version if the target tells versions.
func (s *suite) wants(t *testing.T, key, value []byte, version uint64) {
	t.Helper()
	read, err := s.target.Get(t.Context(), key, nil)
	switch {
	case err != nil:
		t.Fatalf("get %q: %v", key, err)
	case !bytes.Equal(read.Value, value):
		t.Fatalf("get %q: %d bytes %.60q, want %d bytes %.60q", key, len(read.Value), read.Value, len(value), value)
	case version != 0 && read.Version != version:
		t.Fatalf("get %q: version %d, want %d", key, read.Version, version)
	}
}

func wantsCode(t *testing.T, err error, code kverr.Code) {
	t.Helper()
	var e *kverr.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want a *kverr.Error of %s", err, kverr.Name(code))
	}
}

func (s *suite) absent(t *testing.T) {
	_, err := s.target.Get(t.Context(), s.key("absent"), nil)
	wantsCode(t, err, kverr.NotFound)
}

func (s *suite) putGet(t *testing.T) {
	key := s.key("put")
	first := s.put(t, key, []byte("one"))
	s.wants(t, key, []byte("one"), first)
	second := s.put(t, key, []byte("two"))
	s.wants(t, key, []byte("two"), second)
	if first != 0 && second <= first {
		t.Errorf("version %d after %d: versions of a key must grow", second, first)
	}
}

func (s *suite) delete(t *testing.T) {
	key := s.key("delete")
	s.put(t, key, []byte("value"))
	for range 2 { // the second time it is absent
		if _, err := s.target.Delete(t.Context(), key); err != nil {
			t.Fatalf("delete: %v", err)
		}
		_, err := s.target.Get(t.Context(), key, nil)
		wantsCode(t, err, kverr.NotFound)
	}
}

func (s *suite) compareAndSwap(t *testing.T) {
	key := s.key("cas")
	first, err := s.target.CompareAndSwap(t.Context(), key, []byte("one"), 0)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if first == 0 {
		read, err := s.target.Get(t.Context(), key, nil)
		if err != nil || read.Version == 0 {
			t.Fatalf("a target with compare-and-swap must tell versions: got %d, %v", read.Version, err)
		}
		first = read.Version
	}
	_, err = s.target.CompareAndSwap(t.Context(), key, []byte("again"), 0)
	wantsCode(t, err, kverr.PreconditionFailed)
	second, err := s.target.CompareAndSwap(t.Context(), key, []byte("two"), first)
	if err != nil {
		t.Fatalf("swap at version %d: %v", first, err)
	}
	s.wants(t, key, []byte("two"), second)
	_, err = s.target.CompareAndSwap(t.Context(), key, []byte("three"), first)
	wantsCode(t, err, kverr.PreconditionFailed)
	if e := kverr.As(err); e.Version != 0 && second != 0 && e.Version != second {
		t.Errorf("the refusal names version %d, the key is at %d", e.Version, second)
	}
	s.wants(t, key, []byte("two"), second)
}

func (s *suite) values(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	large := bytes.Repeat(all, 1<<12) // 1 MiB
	for i, value := range [][]byte{{}, {0}, all, large, large[:64<<10], []byte("small again")} {
		key := s.key(fmt.Sprintf("value%d", i))
		s.put(t, key, value)
		s.wants(t, key, value, 0)
	}
}

func (s *suite) keys(t *testing.T) {
	names := []string{
		"a//b", "a/b", "..", "/../x", ".", "%2e", "%252e", "%", "a b", "a+b", "a?b=c", "a#b", "a;b", "\x00", "\xff\xfe", "é/ü", "trailing/", "//",
		"{tag}x", "a\r\nb", string(bytes.Repeat([]byte{0xff}, 4096-len(s.prefix))),
	}
	for i, name := range names {
		s.put(t, s.key(name), fmt.Appendf(nil, "value %d", i))
	}
	for i, name := range names {
		s.wants(t, s.key(name), fmt.Appendf(nil, "value %d", i), 0)
	}
}

// buffer checks that an answer which uses the caller's buffer does not stay tied to it in the target.
func (s *suite) buffer(t *testing.T) {
	key, want := s.key("buffer"), []byte("a value")
	s.put(t, key, want)
	buffer := make([]byte, 0, 64)
	read, err := s.target.Get(t.Context(), key, buffer)
	if err != nil || !bytes.Equal(read.Value, want) {
		t.Fatalf("got %q, %v", read.Value, err)
	}
	clear(buffer[:cap(buffer)])
	s.wants(t, key, want, 0)
	value := []byte("changed later")
	s.put(t, key, value)
	clear(value)
	s.wants(t, key, []byte("changed later"), 0)
}

func (s *suite) concurrent(t *testing.T) {
	var group sync.WaitGroup
	for worker := range 32 {
		group.Go(func() {
			var buffer []byte
			for i := range 20 {
				key := s.key(fmt.Sprintf("concurrent%d", worker))
				value := bench.AppendValue(nil, key, uint64(i), 100+worker)
				if _, err := s.target.Put(t.Context(), key, value); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				read, err := s.target.Get(t.Context(), key, buffer)
				if err != nil || !bytes.Equal(read.Value, value) {
					t.Errorf("get %q: %v, or another's value", key, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func (s *suite) endedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.target.Get(ctx, s.key("ended"), nil)
	wantsCode(t, err, kverr.Canceled)
	if _, err = s.target.Put(ctx, s.key("ended"), []byte("value")); err == nil {
		t.Error("a put with an ended context must fail")
	}
	s.put(t, s.key("ended"), []byte("alive"))
	s.wants(t, s.key("ended"), []byte("alive"), 0)
}
