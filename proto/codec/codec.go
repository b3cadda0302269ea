// Package codec is how Kring's messages cross gRPC: generated marshalling without reflection, into pooled buffers, and byte
// fields that alias the received frame instead of copying it. It also holds the gRPC settings that both ends must agree on.
package codec

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// Name is the content subtype: the bytes are plain protobuf, so that any gRPC client can talk to us.
const Name = "proto"

// encoder is what generated messages of kring.v1 have.
type encoder interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

type decoder interface {
	UnmarshalVTUnsafe([]byte) error
}

// Codec returns the codec. Install it with ServerOptions and DialOptions.
//
// Encoding takes any protobuf message, and mem.BufferSlice as a message that Encode has encoded before: gRPC then owns the
// buffers.
//
// Decoding adds to the message as protobuf merging does: a message that is used again must be emptied first. Byte and
// string fields of messages of kring.v1 alias the received frame, which nobody changes; whoever keeps a small part of a
// large frame for long should copy it, since it keeps the whole frame alive.
func Codec() encoding.CodecV2 { return codec{} }

type codec struct{}

func (codec) Name() string { return Name }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case mem.BufferSlice:
		return m, nil
	case encoder:
		return Encode(m)
	}
	m := messageOf(v)
	if m == nil {
		return nil, fmt.Errorf("codec: cannot encode a %T: it is no protobuf message", v)
	}
	return encodeWith(proto.Size(m), func(buf []byte) error {
		out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf[:0], m)
		if err == nil && len(out) != len(buf) {
			err = fmt.Errorf("codec: a %T changed while it was encoded", v)
		}
		return err
	})
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(decoder); ok {
		// The one copy of the frame. It belongs to the garbage collector, not to a pool, because fields of m point into it.
		return m.UnmarshalVTUnsafe(data.Materialize())
	}
	m := messageOf(v)
	if m == nil {
		return fmt.Errorf("codec: cannot decode into a %T: it is no protobuf message", v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return proto.UnmarshalOptions{Merge: true}.Unmarshal(buf.ReadOnlyData(), m)
}

// Encode encodes m, a generated message of kring.v1, into a buffer from gRPC's pool, for a caller who must know when m is no
// longer read: sending may block for long after that. The result is to be sent exactly once, or freed.
func Encode(m encoder) (mem.BufferSlice, error) {
	return encodeWith(m.SizeVT(), func(buf []byte) error {
		n, err := m.MarshalToSizedBufferVT(buf)
		if err == nil && n != len(buf) {
			err = fmt.Errorf("codec: a %T changed while it was encoded", m)
		}
		return err
	})
}

// encodeWith has fill write size bytes.
func encodeWith(size int, fill func([]byte) error) (mem.BufferSlice, error) {
	if mem.IsBelowBufferPoolingThreshold(size) {
		buf := make([]byte, size)
		if err := fill(buf); err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(buf)}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(size)
	if err := fill((*buf)[:size]); err != nil {
		pool.Put(buf)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

func messageOf(v any) proto.Message {
	switch m := v.(type) {
	case protoadapt.MessageV2:
		return m
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m)
	}
	return nil
}
