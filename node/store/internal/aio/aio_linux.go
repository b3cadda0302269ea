package aio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What linux/aio_abi.h says; x/sys/unix has only the numbers of the calls.
const (
	opSyncData  = 3      // IOCB_CMD_FDSYNC
	flagEventFD = 1 << 0 // IOCB_FLAG_RESFD
)

// control is struct iocb, on a little-endian machine.
type control struct {
	_         uint64 // data
	_, _      uint32 // key, read and write flags
	operation uint16
	_         int16 // priority
	file      uint32
	_, _      uint64 // buffer, length
	_         int64  // offset
	_         uint64 // reserved
	flags     uint32
	eventFD   uint32
}

// event is struct io_event.
type event struct {
	_, _   uint64 // data, iocb
	result int64
	_      int64
}

// Syncer syncs one file at a time. It is not safe for concurrent use.
type Syncer struct {
	context uintptr  // aio_context_t
	done    *os.File // an eventfd: readable when the sync has ended
	doneFD  uint32
	control *control // on the heap: the kernel is given its address
	event   *event
	count   []byte
}

// New returns an error that is errors.ErrUnsupported where the system has no such syncs or gives none to this process, as a container
// that forbids the calls.
func New() (*Syncer, error) {
	if order := binary.NativeEndian.Uint16([]byte{1, 0}); order != 1 {
		return nil, fmt.Errorf("%w: not a little-endian machine", errors.ErrUnsupported)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("%w: eventfd: %w", errors.ErrUnsupported, err)
	}
	s := &Syncer{done: os.NewFile(uintptr(fd), "eventfd"), doneFD: uint32(fd), control: new(control), event: new(event), count: make([]byte, 8)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.context)), 0); errno != 0 {
		return nil, errors.Join(fmt.Errorf("%w: io_setup: %w", errors.ErrUnsupported, errno), s.done.Close())
	}
	return s, nil
}

// SyncData is fdatasync of a file: on return its data is durable. An error that is errors.ErrUnsupported says that nothing was
// done; any other that nothing is known of what was written since the last sync.
func (s *Syncer) SyncData(fd uintptr) error {
	*s.control = control{operation: opSyncData, file: uint32(fd), flags: flagEventFD, eventFD: s.doneFD}
	submitted, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, s.context, 1, uintptr(unsafe.Pointer(&s.control)))
	if errno != 0 || submitted != 1 {
		return fmt.Errorf("%w: io_submit: %w", errors.ErrUnsupported, errno)
	}
	if _, err := s.done.Read(s.count); err != nil { // waits in the runtime's poller
		return fmt.Errorf("eventfd: %w", err)
	}
	return s.result()
}

// result takes the event, which is there.
func (s *Syncer) result() error {
	for {
		got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.context, 1, 1, uintptr(unsafe.Pointer(s.event)), 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return fmt.Errorf("io_getevents: %w", errno)
		case got != 1:
			return fmt.Errorf("io_getevents: %d events of 1", got)
		case s.event.result < 0:
			return unix.Errno(-s.event.result)
		}
		return nil
	}
}

// Close frees what New took. Nothing may be under way.
func (s *Syncer) Close() error {
	_, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, s.context, 0, 0)
	err := s.done.Close()
	if errno != 0 {
		err = errors.Join(fmt.Errorf("io_destroy: %w", errno), err)
	}
	return err
}
