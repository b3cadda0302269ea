package entry

import (
	"encoding/binary"
	"fmt"
)

// IsZero reports whether a holds nothing.
func (a *Attributes) IsZero() bool { return a.flags() == 0 }

// Validate reports why a cannot be encoded; nil if it can.
func (a *Attributes) Validate() error {
	for i := 1; i < len(a.Metadata); i++ {
		if a.Metadata[i-1].Name >= a.Metadata[i].Name {
			return fmt.Errorf("entry: metadata %q after %q: names must be sorted and unique",
				a.Metadata[i].Name, a.Metadata[i-1].Name)
		}
	}
	if n := a.EncodedBytes(); n > MaxAttributeBytes {
		return fmt.Errorf("entry: attributes of %d bytes, at most %d", n, MaxAttributeBytes)
	}
	return nil
}

func (a *Attributes) flags() uint16 {
	var f uint16
	if a.ContentType != "" {
		f |= flagContentType
	}
	if a.ContentEncoding != "" {
		f |= flagContentEncoding
	}
	if len(a.Metadata) > 0 {
		f |= flagMetadata
	}
	if a.ExpiresMillis != 0 {
		f |= flagExpires
	}
	return f
}

// EncodedBytes is the length of what AppendAttributes appends, less two bytes of flags.
func (a *Attributes) EncodedBytes() int {
	n := 0
	if a.ContentType != "" {
		n += 2 + len(a.ContentType)
	}
	if a.ContentEncoding != "" {
		n += 2 + len(a.ContentEncoding)
	}
	if len(a.Metadata) > 0 {
		n += 2
		for i := range a.Metadata {
			n += 4 + len(a.Metadata[i].Name) + len(a.Metadata[i].Value)
		}
	}
	if a.ExpiresMillis != 0 {
		n += 8
	}
	return n
}

// AppendAttributes appends two bytes of flags and what they name: the form in which the applied data keeps attributes.
func AppendAttributes(dst []byte, a *Attributes) []byte {
	return a.appendTo(binary.LittleEndian.AppendUint16(dst, a.flags()))
}

// DecodeAttributes reads what AppendAttributes wrote from the front of b and returns the rest. Strings are copies. The
// error wraps ErrMalformed.
func DecodeAttributes(b []byte, a *Attributes) (rest []byte, err error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: attributes cut short", ErrMalformed)
	}
	flags := binary.LittleEndian.Uint16(b)
	*a = Attributes{}
	if flags&^flagAttributes != 0 {
		return nil, fmt.Errorf("%w: unknown attribute flags %#x", ErrMalformed, flags)
	}
	if flags == 0 {
		return b[2:], nil
	}
	return a.decodeFront(b[2:], flags)
}

func (a *Attributes) appendTo(dst []byte) []byte {
	if a.ContentType != "" {
		dst = appendString(dst, a.ContentType)
	}
	if a.ContentEncoding != "" {
		dst = appendString(dst, a.ContentEncoding)
	}
	if len(a.Metadata) > 0 {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(a.Metadata)))
		for i := range a.Metadata {
			dst = appendString(dst, a.Metadata[i].Name)
			dst = appendString(dst, a.Metadata[i].Value)
		}
	}
	if a.ExpiresMillis != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, a.ExpiresMillis)
	}
	return dst
}

// decode reads b, which must hold exactly the attributes that flags names.
func (a *Attributes) decode(b []byte, flags uint16) error {
	rest, err := a.decodeFront(b, flags)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes left over", ErrMalformed, len(rest))
	}
	return err
}

func (a *Attributes) decodeFront(b []byte, flags uint16) ([]byte, error) {
	d := decoder{b: b}
	if flags&flagContentType != 0 {
		a.ContentType = d.string()
	}
	if flags&flagContentEncoding != 0 {
		a.ContentEncoding = d.string()
	}
	if flags&flagMetadata != 0 {
		count := int(d.uint16())
		// Each pair takes four bytes at least, so a forged count cannot make us allocate more than b is worth.
		if count > len(d.b)/4 {
			return nil, fmt.Errorf("%w: %d pieces of metadata in %d bytes", ErrMalformed, count, len(d.b))
		}
		a.Metadata = make([]Pair, count)
		for i := range a.Metadata {
			a.Metadata[i] = Pair{Name: d.string(), Value: d.string()}
		}
	}
	if flags&flagExpires != 0 {
		a.ExpiresMillis = d.uint64()
	}
	if d.short {
		return nil, fmt.Errorf("%w: attributes cut short", ErrMalformed)
	}
	if got := a.flags(); got != flags&flagAttributes {
		return nil, fmt.Errorf("%w: an attribute is announced and empty", ErrMalformed)
	}
	if err := a.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d.b, nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// decoder takes values off the front of b. Once b was too short it only gives zeros, so callers check short at the end.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if d.short || n > len(d.b) {
		d.short = true
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) string() string { return string(d.take(int(d.uint16()))) }
