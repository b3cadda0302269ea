package codec

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// split cuts data into buffers of 3 bytes, as frames may arrive.
func split(data []byte) mem.BufferSlice {
	var out mem.BufferSlice
	for len(data) > 3 {
		out = append(out, mem.SliceBuffer(data[:3]))
		data = data[3:]
	}
	return append(out, mem.SliceBuffer(data))
}

// populate sets every field of m to something else than its zero, depth levels deep.
func populate(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			if depth > 0 {
				populate(m.Mutable(f).List().AppendMutable().Message(), depth-1)
			}
		case f.IsList():
			m.Mutable(f).List().Append(scalar(f))
		case f.Kind() == protoreflect.MessageKind:
			if depth > 0 {
				populate(m.Mutable(f).Message(), depth-1)
			}
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 1, 0xff})
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("text")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1.5)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(300)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-7)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-7)
	}
	return protoreflect.ValueOfUint64(1 << 60)
}

// TestEveryMessage sends every message of kring.v1 through the codec and through plain protobuf, in both directions.
func TestEveryMessage(t *testing.T) {
	count := 0
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() != "kring.v1" || mt.Descriptor().IsMapEntry() {
			return true
		}
		count++
		t.Run(string(mt.Descriptor().Name()), func(t *testing.T) {
			for depth := range 4 {
				in := mt.New()
				populate(in, depth)
				requireSame(t, in.Interface(), mt)
			}
			requireSame(t, mt.New().Interface(), mt)
		})
		return true
	})
	require.Greater(t, count, 20)
}

func requireSame(t *testing.T, in proto.Message, mt protoreflect.MessageType) {
	t.Helper()
	ours, err := Codec().Marshal(in)
	require.NoError(t, err)
	defer ours.Free()
	plain := mt.New().Interface()
	require.NoError(t, proto.Unmarshal(ours.Materialize(), plain))
	require.True(t, proto.Equal(in, plain))

	data, err := proto.Marshal(in)
	require.NoError(t, err)
	out := mt.New().Interface()
	require.NoError(t, Codec().Unmarshal(split(data), out))
	require.True(t, proto.Equal(in, out))
}

func TestOtherMessagesAreEncodedToo(t *testing.T) {
	require.Equal(t, encoding.GetCodecV2("proto").Name(), Codec().Name())
	for _, in := range []proto.Message{
		&grpc_health_v1.HealthCheckRequest{Service: "kring"}, durationpb.New(12345), &grpc_health_v1.HealthCheckRequest{},
		&grpc_health_v1.HealthCheckRequest{Service: string(bytes.Repeat([]byte("x"), 1<<20))},
	} {
		_, ours := in.(encoder)
		require.False(t, ours)
		requireSame(t, in, in.ProtoReflect().Type())
	}
	_, err := Codec().Marshal("no message")
	require.ErrorContains(t, err, "string")
	require.ErrorContains(t, Codec().Unmarshal(nil, "no message"), "string")
}

func TestLargeMessagesUseThePool(t *testing.T) {
	in := &kringv1.BatchRequest{Requests: []*kringv1.Request{{Key: []byte("k"), Value: bytes.Repeat([]byte{7}, 1<<20)}}}
	for range 3 {
		requireSame(t, in, in.ProtoReflect().Type())
	}
	buffers, err := Encode(in)
	require.NoError(t, err)
	again, err := Codec().Marshal(buffers)
	require.NoError(t, err)
	require.Equal(t, in.SizeVT(), again.Len(), "what is encoded goes out as it is")
	again.Free()
}

// TestFieldsOutliveTheBuffers guards against fields that point into a buffer which gRPC uses again.
func TestFieldsOutliveTheBuffers(t *testing.T) {
	data, err := proto.Marshal(&kringv1.Request{Key: []byte("key"), Value: []byte("value")})
	require.NoError(t, err)
	out := &kringv1.Request{}
	require.NoError(t, Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, out))
	clear(data)
	require.Equal(t, "key", string(out.GetKey()))
	require.Equal(t, "value", string(out.GetValue()))
}

func FuzzBatchRequest(f *testing.F) {
	full := (&kringv1.BatchRequest{}).ProtoReflect()
	populate(full, 3)
	data, err := proto.Marshal(full.Interface())
	require.NoError(f, err)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &kringv1.BatchRequest{}
		if err := Codec().Unmarshal(split(data), m); err != nil {
			return
		}
		out, err := Codec().Marshal(m)
		require.NoError(t, err)
		defer out.Free()
		again := &kringv1.BatchRequest{}
		require.NoError(t, Codec().Unmarshal(out, again))
		require.Equal(t, m.SizeVT(), again.SizeVT())
	})
}

func FuzzBatchResponse(f *testing.F) {
	full := (&kringv1.BatchResponse{}).ProtoReflect()
	populate(full, 4)
	data, err := proto.Marshal(full.Interface())
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(_ *testing.T, data []byte) {
		// Whatever a node sends: an error or a message, never a panic.
		_ = Codec().Unmarshal(split(data), &kringv1.BatchResponse{})
	})
}
