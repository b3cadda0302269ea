package replica

import "strconv"

// maxNumberBytes bounds what is taken for a number: a sign and 19 digits.
const maxNumberBytes = 20

// increment turns ev into a put of the number that s holds plus Delta: what is logged is the effect. It reports false if s
// holds no number or the sum is none. The value and the time to live of a key that exists stay with it.
func (ev *Propose) increment(s *State) bool {
	n := int64(0)
	if s.Exists {
		var err error
		if n, err = parseNumber(s.Value); err != nil {
			return false
		}
		ev.Entry.Attributes, ev.TTLMillis = s.Attributes, 0
	}
	sum := n + ev.Delta
	if (sum > n) != (ev.Delta > 0) && ev.Delta != 0 {
		return false
	}
	ev.Entry.Value, ev.Entry.IsNumber = strconv.AppendInt(nil, sum, 10), true
	return true
}

func parseNumber(b []byte) (int64, error) {
	if len(b) > maxNumberBytes {
		return 0, strconv.ErrRange
	}
	return strconv.ParseInt(string(b), 10, 64)
}
