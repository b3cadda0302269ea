package coordinator

import "time"

// Rates are of the last few seconds.
const (
	meterApart   = time.Second // between two samples that are kept
	meterSamples = 6
	meterStale   = 3 * time.Second // without a sample for so long the rate is not known, which is 0
)

// meter turns a rising total into a rate.
type meter struct {
	samples [meterSamples]meterSample // oldest first
	n       int
	newest  meterSample
}

type meterSample struct {
	at    time.Time
	total uint64
}

// add takes the total at one moment. One that falls begins anew.
func (m *meter) add(now time.Time, total uint64) {
	if m.n == 0 || total < m.newest.total {
		*m = meter{}
		m.samples[0], m.n = meterSample{now, total}, 1
	} else if now.Sub(m.samples[m.n-1].at) >= meterApart {
		if m.n == meterSamples {
			copy(m.samples[:], m.samples[1:])
			m.n--
		}
		m.samples[m.n] = meterSample{now, total}
		m.n++
	}
	m.newest = meterSample{now, total}
}

// perSecond is the mean over the samples that are kept.
func (m *meter) perSecond(now time.Time) float64 {
	if m.n == 0 || now.Sub(m.newest.at) > meterStale {
		return 0
	}
	return rateBetween(m.samples[0], m.newest)
}

// peak is the highest rate between two samples that are kept.
func (m *meter) peak(now time.Time) float64 {
	if m.n == 0 || now.Sub(m.newest.at) > meterStale {
		return 0
	}
	highest := 0.0
	for i := 1; i < m.n; i++ {
		highest = max(highest, rateBetween(m.samples[i-1], m.samples[i]))
	}
	return highest
}

// rateBetween is 0 where too little time lies between.
func rateBetween(from, to meterSample) float64 {
	took := to.at.Sub(from.at)
	if took < meterApart/4 {
		return 0
	}
	return float64(to.total-from.total) / took.Seconds()
}
