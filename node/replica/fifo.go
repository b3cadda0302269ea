package replica

// fifo is a queue in a slice that is reused; its bound is that of what is put in.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) {
	// Moving is paid for by what was popped: at least as much as is moved.
	if f.head > 0 && f.head >= f.len() && len(f.items) == cap(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

func (f *fifo[T]) peek() (v T, ok bool) {
	if f.len() == 0 {
		return v, false
	}
	return f.items[f.head], true
}

func (f *fifo[T]) at(i int) *T { return &f.items[f.head+i] }

func (f *fifo[T]) pop() {
	var zero T
	f.items[f.head] = zero
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
}

// cut drops everything from place i on.
func (f *fifo[T]) cut(i int) {
	clear(f.items[f.head+i:])
	f.items = f.items[:f.head+i]
}

func (f *fifo[T]) release() {
	if f.len() == 0 && cap(f.items) > 64 {
		f.items, f.head = nil, 0
	}
}
