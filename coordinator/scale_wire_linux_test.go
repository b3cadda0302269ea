package coordinator

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	wireWindow     = 1 << 28 // bytes the other end may send unasked: no table waits for a simulated node
	wireMost       = 32 << 20
	wireKeeps      = 64 << 10 // of a buffer, beyond the message that it was for: a thousand tables are a gigabyte
	wireDial       = time.Second
	grpcPrefixSize = 5
)

// wire is a connection of a simulated node: HTTP/2 with one call at a time, just enough of it that the server cannot tell it from gRPC's
// own client. That takes more processor time, for a thousand nodes, than the coordinators that are to be
// measured. It belongs to one goroutine.
type wire struct {
	net.Conn
	framer *http2.Framer
	out    bytes.Buffer // frames that go out with one system call
	coder  *hpack.Encoder
	block  bytes.Buffer
	stream uint32
	taken  uint32 // bytes since the window was opened again
	got    []byte // of the message that is arriving
}

func dialWire(address string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", address, wireDial)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn}
	w.framer = http2.NewFramer(&w.out, bufio.NewReader(conn))
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.framer.SetReuseFrames()
	w.coder = hpack.NewEncoder(&w.block)
	w.out.WriteString(http2.ClientPreface)
	err = w.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: wireWindow})
	if err == nil {
		err = w.framer.WriteWindowUpdate(0, wireWindow)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w.stream = ^uint32(0) // the first is 1
	return w, nil
}

// send begins a call.
func (w *wire) send(method string, message interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
},
) error {
	w.stream += 2
	w.got = w.got[:0]
	w.block.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "coordinator"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := w.coder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	if err := w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: w.stream, BlockFragment: w.block.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	b := make([]byte, grpcPrefixSize+message.SizeVT())
	if _, err := message.MarshalToSizedBufferVT(b[grpcPrefixSize:]); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-grpcPrefixSize))
	if err := w.framer.WriteData(w.stream, true, b); err != nil {
		return err
	}
	return w.flush()
}

func (w *wire) flush() error {
	_, err := w.Write(w.out.Bytes())
	w.out.Reset()
	return err
}

// next is the call's next message, good until the one after; io.EOF where the call has ended well.
func (w *wire) next() ([]byte, error) {
	if size := w.whole(); size > 0 { // the one before
		w.got = w.got[:copy(w.got, w.got[size:])]
	}
	if len(w.got) == 0 && cap(w.got) > wireKeeps {
		w.got = nil
	}
	for w.whole() == 0 {
		if err := w.frame(); err != nil {
			return nil, err
		}
	}
	return w.got[grpcPrefixSize:w.whole()], nil
}

// whole is the size of the message at the front of what came, with its prefix; 0: it is still arriving.
func (w *wire) whole() int {
	if len(w.got) < grpcPrefixSize {
		return 0
	}
	size := grpcPrefixSize + int(binary.BigEndian.Uint32(w.got[1:]))
	if len(w.got) < size {
		return 0
	}
	return size
}

// frame takes the next one.
func (w *wire) frame() error {
	f, err := w.framer.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		w.got = append(w.got, f.Data()...)
		w.taken += f.Length
		if len(w.got) > wireMost {
			return errors.New("a message is too long")
		}
		if w.taken < wireWindow/2 {
			return nil
		}
		if err := errors.Join(w.framer.WriteWindowUpdate(0, w.taken), w.framer.WriteWindowUpdate(w.stream, w.taken)); err != nil {
			return err
		}
		w.taken = 0
		return w.flush()
	case *http2.MetaHeadersFrame:
		return endOf(f)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		return errors.Join(w.framer.WriteSettingsAck(), w.flush())
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		return errors.Join(w.framer.WritePing(true, f.Data), w.flush())
	case *http2.RSTStreamFrame:
		return fmt.Errorf("the call was ended: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("the coordinator goes away: %v", f.ErrCode)
	}
	return nil
}

// endOf is what a call ended with; nil: it goes on.
func endOf(f *http2.MetaHeadersFrame) error {
	if !f.StreamEnded() {
		return nil
	}
	status, message := "", ""
	for _, field := range f.Fields {
		switch field.Name {
		case "grpc-status":
			status = field.Value
		case "grpc-message":
			message = field.Value
		}
	}
	if status == "0" {
		return io.EOF
	}
	return &refusal{status, message}
}

// refusal is an answer too: the connection is sound.
type refusal struct{ status, message string }

func (r *refusal) Error() string { return "status " + r.status + ": " + r.message }
