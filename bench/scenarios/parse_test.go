package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadyScenariosCanBeRead(t *testing.T) {
	assert.ElementsMatch(t, []string{"grow", "shrink", "failover", "rolling-restart", "master-away"}, Names())
	for _, name := range Names() {
		s, err := Open(name)
		require.NoError(t, err, name)
		assert.Equal(t, name, s.Name)
		assert.NotEmpty(t, s.About)
		assert.NotEmpty(t, s.Events)
	}
}

func TestParse(t *testing.T) {
	s, err := Parse(strings.NewReader(`
name: mine
duration: 2m
load: {rate: 50}
events:
  90s: [kill -9  n4, stop coordinators]
  20s: add node
  1m: drain n2
`))
	require.NoError(t, err)
	assert.Equal(t, Events{
		{20 * time.Second, AddNode, ""}, {time.Minute, Drain, "n2"}, {90 * time.Second, Kill, "n4"}, {90 * time.Second, Stop, AllCoordinators},
	}, s.Events, "in the order of their times")
	assert.Equal(t, Load{Workload: "a", Keys: 20_000, ValueSize: "1024", Rate: 50, Seed: 1}, s.Load, "with the defaults")
	assert.Equal(t, Size{3, 3, 2}, s.Cluster)
	assert.Equal(t, 1, s.Added())
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	const head = "name: x\nduration: 60s\n"
	for text, why := range map[string]string{
		"duration: 60s":                            "needs a name",
		"name: x":                                  "needs a duration",
		head + "loda: {}":                          "loda",
		head + "events: {20s: explode}":            "nothing that can be done",
		head + "events: {20s: kill -9}":            "nothing that can be done",
		head + "events: {20s: kill -9 node2}":      "write a member",
		head + "events: {20s: drain c1}":           "takes a node",
		head + "events: {20s: drain coordinators}": "takes a node",
		head + "events: {20s: pause coordinators}": "write a member",
		head + "events: {soon: add node}":          "is no time",
		head + "events: {70s: add node}":           "not within the duration",
		head + "events: [add node]":                "lines such as",
		head + "load: {rate: 0}":                   "must be above 0",
		head + "load: {value_size: huge}":          "value size",
	} {
		_, err := Parse(strings.NewReader(text))
		assert.ErrorContains(t, err, why, text)
	}
	_, err := Open("/does/not/exist")
	assert.ErrorContains(t, err, "failover")
}
