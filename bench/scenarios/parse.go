package scenarios

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kringdb/kring/bench"
)

// Scenario is what a file says.
type Scenario struct {
	Name     string        `yaml:"name" json:"name"`
	About    string        `yaml:"about" json:"about,omitempty"`
	Cluster  Size          `yaml:"cluster" json:"cluster"`
	Load     Load          `yaml:"load" json:"load"`
	Duration time.Duration `yaml:"duration" json:"duration_ns"`
	// Settle is how long after the load everything may take to be in its place. Default 2 minutes.
	Settle time.Duration `yaml:"settle" json:"settle_ns"`
	Events Events        `yaml:"events" json:"events"`
}

// Size is what the cluster consists of at the start.
type Size struct {
	Coordinators int `yaml:"coordinators" json:"coordinators"` // default 3
	Nodes        int `yaml:"nodes" json:"nodes"`               // default 3
	Gateways     int `yaml:"gateways" json:"gateways"`         // default 2
}

// Load is an open loop.
type Load struct {
	Workload     string             `yaml:"workload" json:"workload"` // default a
	Distribution bench.Distribution `yaml:"distribution" json:"distribution,omitempty"`
	Keys         uint64             `yaml:"keys" json:"keys"`             // default 20,000
	ValueSize    string             `yaml:"value_size" json:"value_size"` // default 1024; as bench.ParseSizes reads it
	Rate         float64            `yaml:"rate" json:"rate"`             // operations a second, default 300
	Seed         uint64             `yaml:"seed" json:"seed"`             // default 1
}

// Event is one thing that is done.
type Event struct {
	At     time.Duration `json:"at_ns"` // since the load began
	Verb   Verb          `json:"verb"`
	Target string        `json:"target,omitempty"` // a member, "coordinators", or empty
}

// Verb is what is done.
type Verb string

// The verbs.
const (
	AddNode Verb = "add node"        // start one more
	Drain   Verb = "drain"           // give its copies to others
	Remove  Verb = "remove"          // and for good
	Kill    Verb = "kill -9"         // SIGKILL
	Stop    Verb = "stop"            // SIGTERM, and wait for the end
	Start   Verb = "start"           // one that does not run
	Restart Verb = "restart"         // stop and start
	Pause   Verb = "pause"           // SIGSTOP
	Resume  Verb = "resume"          // SIGCONT
	Rolling Verb = "rolling restart" // of all nodes, each once all is whole again
)

// AllCoordinators is a target of kill -9, stop and start.
const AllCoordinators = "coordinators"

func (e Event) String() string {
	if e.Target == "" {
		return string(e.Verb)
	}
	return string(e.Verb) + " " + e.Target
}

// Events are in the order of their times.
type Events []Event

// UnmarshalYAML reads "20s: add node"; a time may have a list of several. Those of one time are done in the order of the file.
func (e *Events) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: events are lines such as 20s: add node", node.Line)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		at, err := time.ParseDuration(node.Content[i].Value)
		if err != nil || at < 0 {
			return fmt.Errorf("line %d: %q is no time: write 20s or 1m30s", node.Content[i].Line, node.Content[i].Value)
		}
		actions := []*yaml.Node{node.Content[i+1]}
		if actions[0].Kind == yaml.SequenceNode {
			actions = actions[0].Content
		}
		for _, action := range actions {
			event, err := parseEvent(at, action.Value)
			if err != nil {
				return fmt.Errorf("line %d: %w", action.Line, err)
			}
			*e = append(*e, event)
		}
	}
	slices.SortStableFunc(*e, func(a, b Event) int { return int(a.At - b.At) })
	return nil
}

var (
	alone  = []Verb{AddNode, Rolling}
	withID = []Verb{Drain, Remove, Kill, Stop, Start, Restart, Pause, Resume}
	member = regexp.MustCompile(`^[cng][0-9]+$`)
	node   = regexp.MustCompile(`^n[0-9]+$`)
)

func parseEvent(at time.Duration, text string) (Event, error) {
	text = strings.Join(strings.Fields(text), " ")
	if slices.Contains(alone, Verb(text)) {
		return Event{At: at, Verb: Verb(text)}, nil
	}
	for _, verb := range withID {
		target, ok := strings.CutPrefix(text, string(verb)+" ")
		if !ok {
			continue
		}
		e := Event{at, verb, target}
		all := target == AllCoordinators && (verb == Kill || verb == Stop || verb == Start)
		switch {
		case (verb == Drain || verb == Remove) && !node.MatchString(target):
			return e, fmt.Errorf("%q: %s takes a node, such as n2", text, verb)
		case !all && !member.MatchString(target):
			return e, fmt.Errorf("%q: write a member such as n2, c1 or g1; kill -9, stop and start take coordinators too", text)
		}
		return e, nil
	}
	return Event{}, fmt.Errorf("%q is nothing that can be done: write add node, rolling restart, or one of drain, remove, kill -9, stop, start, "+
		"restart, pause, resume and a member", text)
}

// Parse reads a scenario and fills in the defaults.
func Parse(r io.Reader) (*Scenario, error) {
	s := &Scenario{
		Cluster: Size{3, 3, 2}, Load: Load{Workload: "a", Keys: 20_000, ValueSize: "1024", Rate: 300, Seed: 1}, Settle: 2 * time.Minute,
	}
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return s, s.validate()
}

func (s *Scenario) validate() error {
	switch {
	case s.Name == "":
		return errors.New("a scenario needs a name")
	case s.Duration <= 0:
		return errors.New("a scenario needs a duration, such as 90s")
	case !(s.Load.Rate > 0):
		return errors.New("the load of a scenario is an open loop: its rate must be above 0")
	case s.Cluster.Coordinators < 1 || s.Cluster.Nodes < 1 || s.Cluster.Gateways < 1 || s.Settle < 0:
		return errors.New("a scenario needs at least one coordinator, node and gateway, and no negative times")
	}
	for _, e := range s.Events {
		if e.At >= s.Duration {
			return fmt.Errorf("%s at %v is not within the duration, %v", e, e.At, s.Duration)
		}
	}
	if _, err := bench.ParseSizes(s.Load.ValueSize); err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	return nil
}

// Added is how many nodes join.
func (s *Scenario) Added() (n int) {
	for _, e := range s.Events {
		if e.Verb == AddNode {
			n++
		}
	}
	return n
}

//go:embed *.yaml
var ready embed.FS

const ending = ".yaml"

// Names are those of the ready scenarios.
func Names() []string {
	files, err := fs.Glob(ready, "*"+ending)
	if err != nil {
		panic(err) // a pattern that is wrong
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ending)
	}
	return files
}

// Open reads a ready scenario by its name, or else a file.
func Open(name string) (*Scenario, error) {
	text, err := Text(name)
	if err != nil {
		return nil, err
	}
	s, err := Parse(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Text is the file of a ready scenario, or else a file.
func Text(name string) ([]byte, error) {
	if slices.Contains(Names(), name) {
		return ready.ReadFile(name + ending)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("no ready scenario (%s), and no file: %w", strings.Join(Names(), ", "), err)
	}
	return text, nil
}
