package entry_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
)

// withChecksum makes b's last four bytes its checksum, so that fuzzing reaches what lies behind the check.
func withChecksum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	out := append([]byte(nil), b...)
	body := out[:len(out)-4]
	binary.LittleEndian.PutUint32(out[len(body):], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// FuzzDecode feeds Decode anything. It must not panic, and what it takes is exactly what Encode would write.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, withChecksum(b)} {
			var e entry.Entry
			if err := entry.Decode(b, &e); err != nil {
				require.ErrorIs(t, err, entry.ErrMalformed)
				continue
			}
			require.Equal(t, b, entry.Encode(nil, &e))
			seq, epoch, err := entry.DecodeHeader(b)
			require.NoError(t, err)
			require.Equal(t, e.Seq, seq)
			require.Equal(t, e.Epoch, epoch)
		}
	})
}

// FuzzDecodeConfiguration is FuzzDecode for configurations.
func FuzzDecodeConfiguration(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, withChecksum(b)} {
			p, err := entry.DecodeConfiguration(b)
			if err != nil {
				require.ErrorIs(t, err, entry.ErrMalformed)
				continue
			}
			require.Equal(t, b, entry.EncodeConfiguration(p))
		}
	})
}

// FuzzDecodeAttributes is FuzzDecode for attributes as the applied data keeps them.
func FuzzDecodeAttributes(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var a entry.Attributes
		rest, err := entry.DecodeAttributes(b, &a)
		if err != nil {
			require.ErrorIs(t, err, entry.ErrMalformed)
			return
		}
		require.Equal(t, b, append(entry.AppendAttributes(nil, &a), rest...))
	})
}

// FuzzDecodeFlip is FuzzDecode for flips; an empty one is of an older version.
func FuzzDecodeFlip(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(entry.EncodeFlip(7 << 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		hybridTime, err := entry.DecodeFlip(b)
		switch {
		case err != nil:
			require.ErrorIs(t, err, entry.ErrMalformed)
		case len(b) == 0:
			require.Zero(t, hybridTime)
		default:
			require.Equal(t, b, entry.EncodeFlip(hybridTime))
		}
	})
}
