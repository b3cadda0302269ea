package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const maxNamedUnsure = 5 // partitions named in a text for people

// records are what one node knows of decisions.
type records struct {
	clusterID      string
	member         ring.Member
	configurations []ring.Partition // without a primary where only the epoch is known
	settings       ring.Settings    // zero: not known
	version        uint64           // of its newest table
	above          uint64           // it takes only tables of versions above, since restored coordinators have asked it; 0: any
	table          *ring.Table      // nil: not asked for, or it has none
}

func toRecords(in *kringv1.GetRecordsResponse) (*records, error) {
	r := &records{
		clusterID: in.GetClusterId(), member: ringpb.ToMember(in.GetMember()), version: in.GetTableVersion(), above: in.GetTablesAbove(),
		settings: ringpb.ToSettings(in.GetSettings()),
	}
	for _, p := range in.GetConfigurations() {
		r.configurations = append(r.configurations, ringpb.ToPartition(p))
	}
	if in.GetTable() != nil {
		t, err := ringpb.ToTable(in.GetTable())
		if err == nil {
			err = t.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("table of node %s: %w", r.member.Node, err)
		}
		r.table = t
	}
	return r, nil
}

// evidence is everything that is known of what was decided.
type evidence struct {
	clusterID string                   // empty: whatever the nodes agree on
	base      *ring.Table              // the coordinators' own, perhaps an old one; without partitions where there is none
	overrides map[ring.NodeID]override // that the coordinators know of
	retired   map[ring.StoreID]bool    // disks that count for nothing any more
	records   map[ring.NodeID]*records // of nodes that answered
	heard     []ring.NodeID            // nodes that gossip takes for alive
	without   map[ring.NodeID]bool     // nodes that a person said not to wait for
}

// finding is what the evidence comes to.
type finding struct {
	table     *ring.Table // under the epochs and the version at which it was found
	overrides map[ring.NodeID]override
	restores  uint16 // the highest restore count of any epoch met
	version   uint64 // the highest of a table that the base or a node holds, or that a node no longer takes; see records
	answered  int    // nodes
	// What keeps it from being adopted.
	missing []string      // nodes whose records are needed, sorted; with why, where they answered
	awaited []ring.NodeID // the same, their names alone; never nil
	trouble []string      // what waiting does not mend
	unsure  []string      // what may be lost where those without records are not waited for
}

func (f *finding) ready() bool { return len(f.missing) == 0 && len(f.trouble) == 0 }

// find puts together the newest that is known. It is a pure function.
//
// Whatever may have been acknowledged under a configuration is on its in-sync replicas, and each of them promised it on its disk
// before it opened. So where all nodes answer, the highest epoch that any of them knows is the newest that matters: one that was
// decided later was heard of by nobody who could have acted on it, and its epoch is never given out again, since the restore
// count rises.
func (e *evidence) find() *finding {
	f := &finding{answered: len(e.records), awaited: []ring.NodeID{}}
	newest := e.newestTable()
	e.checkClusters(f)
	e.checkBoots(newest, f)
	f.overrides = e.overridesBy(newest)
	f.table = &ring.Table{Version: newest.Version, Settings: e.settings(newest, f), Members: e.members(newest, f.overrides)}
	f.version = newest.Version
	for _, r := range e.records {
		if e.own(r) {
			f.version = max(f.version, r.version, r.above)
		}
	}
	e.partitions(newest, f)
	e.miss(newest, f)
	return f
}

// newestTable is the coordinators' own, or a node's that is newer.
func (e *evidence) newestTable() *ring.Table {
	newest := e.base
	for _, id := range slices.Sorted(maps.Keys(e.records)) {
		if t := e.records[id].table; t != nil && t.Formed() && t.Version > newest.Version && e.own(e.records[id]) {
			newest = t
		}
	}
	return newest
}

// own reports whether the records are of this cluster.
func (e *evidence) own(r *records) bool {
	return r.clusterID != "" && (e.clusterID == "" || r.clusterID == e.clusterID)
}

func (e *evidence) checkClusters(f *finding) {
	clusters := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(e.records)) {
		if c := e.records[id].clusterID; c != "" {
			clusters[c] = append(clusters[c], string(id))
		}
	}
	if e.clusterID != "" {
		clusters[e.clusterID] = append(clusters[e.clusterID], "the coordinators")
	}
	if len(clusters) > 1 {
		var texts []string
		for _, c := range slices.Sorted(maps.Keys(clusters)) {
			texts = append(texts, strings.Join(clusters[c], ", ")+" of "+c)
		}
		f.trouble = append(f.trouble, "they belong to several clusters: "+strings.Join(texts, "; "))
	}
}

func (e *evidence) settings(newest *ring.Table, f *finding) ring.Settings {
	if newest.Settings.Partitions > 0 {
		return newest.Settings
	}
	var found ring.Settings
	for _, id := range slices.Sorted(maps.Keys(e.records)) {
		s := e.records[id].settings
		switch {
		case s.Partitions == 0:
		case found.Partitions == 0:
			found = s
		case found.Partitions != s.Partitions:
			f.trouble = append(f.trouble, fmt.Sprintf("node %s knows of %d partitions, another of %d", id, s.Partitions, found.Partitions))
		case found != s:
			// One of them was away when a person changed it: more copies do no harm.
			found.Replicas, found.MinInSync = max(found.Replicas, s.Replicas), max(found.MinInSync, s.MinInSync)
		}
	}
	return found
}

// checkBoots finds disks that were copied, or set back to an earlier state: what they promised since is not on them.
func (e *evidence) checkBoots(newest *ring.Table, f *finding) {
	for _, id := range slices.Sorted(maps.Keys(e.records)) {
		r := e.records[id]
		if old := newest.Member(id); old != nil && e.own(r) && old.Store == r.member.Store && r.member.Boot < old.Boot {
			f.trouble = append(f.trouble, fmt.Sprintf("node %s starts for the %d. time by its data directory, and its %d. start is known: the directory "+
				"is a copy or was set back", id, r.member.Boot, old.Boot))
		}
	}
}

// overridesBy is what people have set of nodes: the coordinators know it, unless a node holds a newer table. In that, whatever
// differs from what the node registers with was set.
func (e *evidence) overridesBy(newest *ring.Table) map[ring.NodeID]override {
	if newest == e.base {
		return e.overrides
	}
	out := map[ring.NodeID]override{}
	for id, r := range e.records {
		old := newest.Member(id)
		if old == nil || !e.own(r) {
			continue
		}
		o := override{registeredWeight: r.member.Weight, registeredZone: r.member.Zone}
		o.setWeight(old.Weight)
		o.setZone(old.Zone, old.Zone == "")
		if !o.setsNothing() {
			out[id] = o
		}
	}
	return out
}

// members are those of the newest table, as they say that they are; and others that belong to the cluster.
func (e *evidence) members(newest *ring.Table, overrides map[ring.NodeID]override) []ring.Member {
	byID, set := map[ring.NodeID]ring.Member{}, &state{overrides: overrides}
	for _, m := range newest.Members {
		byID[m.Node] = m
	}
	for id, r := range e.records {
		if !e.own(r) {
			continue
		}
		said, old := r.member, byID[id]
		said = set.overridden(said)
		if said.State = ring.MemberUp; old.State == ring.MemberDraining {
			said.State = ring.MemberDraining
		}
		byID[id] = said
	}
	out := make([]ring.Member, 0, len(byID))
	for _, m := range byID {
		if e.records[m.Node] == nil && m.State != ring.MemberDraining {
			m.State = ring.MemberDown
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b ring.Member) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// partitions finds the newest configuration of each.
func (e *evidence) partitions(newest *ring.Table, f *finding) {
	count := int(f.table.Settings.Partitions)
	found, epochs := make([]ring.Partition, count), make([]ring.Epoch, count)
	take := func(who string, p *ring.Partition) {
		if int(p.ID) >= count {
			f.trouble = append(f.trouble, fmt.Sprintf("%s knows of partition %d, the cluster has %d", who, p.ID, count))
			return
		}
		epochs[p.ID] = max(epochs[p.ID], p.Epoch)
		f.restores = max(f.restores, p.Epoch.Restores())
		switch old := &found[p.ID]; {
		case p.Primary.IsZero() || p.Epoch < old.Epoch:
		case p.Epoch > old.Epoch:
			found[p.ID] = p.Clone()
		case !sameMembers(old, p):
			f.trouble = append(f.trouble, fmt.Sprintf("epoch %s of partition %d stands for two configurations, one of them by %s: coordinators that "+
				"had been set back decided it anew", p.Epoch, p.ID, who))
		}
	}
	for _, t := range []*ring.Table{e.base, newest} {
		for i := range t.Partitions {
			take("the table", &t.Partitions[i])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.records)) {
		if r := e.records[id]; e.own(r) {
			for i := range r.configurations {
				take("node "+string(id), &r.configurations[i])
			}
		}
	}
	e.complete(found, epochs, f)
}

// complete checks that every partition is known, or none: then the cluster has not formed.
func (e *evidence) complete(found []ring.Partition, epochs []ring.Epoch, f *finding) {
	var unknown, behind []string
	for i := range found {
		switch {
		case found[i].Epoch == 0 && epochs[i] == 0:
			unknown = append(unknown, fmt.Sprint(i))
		case found[i].Epoch < epochs[i]:
			behind = append(behind, fmt.Sprint(i))
		}
		found[i].ID, found[i].Released = ring.PartitionID(i), false
	}
	if len(behind) > 0 {
		f.trouble = append(f.trouble, "the newest configuration is known by its epoch alone of partitions "+some(behind))
	}
	switch {
	case len(unknown) == len(found):
		return
	case len(unknown) > 0:
		f.trouble = append(f.trouble, "nobody knows anything of partitions "+some(unknown))
	}
	f.table.Partitions = found
}

// miss lists whose records are needed: of every node that is known or heard of, and of those that the newest configurations name. A disk
// that was lost, and whose node is known to have another one since, is not waited for.
//
// Joiners count, since one may have been added in the configuration after: the primary that asked for that knew this one, and need not
// have heard of the next. So whoever was in sync in any later configuration is come to: were c the newest that is known to those asked,
// all of c's members are among them; the in-sync members of c+1 are of these; and what c+2 adds was a joiner of c+1, which its
// primary knew.
func (e *evidence) miss(newest *ring.Table, f *finding) {
	needed := map[ring.NodeID]string{}
	for i := range newest.Members {
		needed[newest.Members[i].Node] = ""
	}
	for _, id := range e.heard {
		needed[id] = ""
	}
	at := map[ring.NodeID][]string{} // partitions, by a node of theirs without records
	for i := range f.table.Partitions {
		p := &f.table.Partitions[i]
		for _, r := range slices.Concat(p.InSync, p.Joining) {
			if m := newest.Member(r.Node); m != nil && m.Store != r.Store {
				continue
			}
			have := e.records[r.Node]
			switch {
			case have == nil:
				needed[r.Node] = ""
			case have.member.Store != r.Store:
				needed[r.Node] = fmt.Sprintf(" (it runs with another data directory than store %x)", uint64(r.Store))
			default:
				continue
			}
			at[r.Node] = append(at[r.Node], fmt.Sprint(i))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(needed)) {
		if e.records[id] != nil && needed[id] == "" {
			continue
		}
		if len(at[id]) > 0 {
			f.unsure = append(f.unsure, fmt.Sprintf("%s may know newer configurations of partitions %s", id, some(at[id])))
		}
		if !e.without[id] {
			f.missing, f.awaited = append(f.missing, string(id)+needed[id]), append(f.awaited, id)
		}
	}
}

func sameMembers(a, b *ring.Partition) bool {
	return a.Primary == b.Primary && slices.Equal(a.InSync, b.InSync) && slices.Equal(a.Joining, b.Joining)
}

func some(list []string) string {
	if len(list) <= maxNamedUnsure {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNamedUnsure], ", "), len(list)-maxNamedUnsure)
}

// command has the finding decided: every partition under a new epoch whose restore count nobody has met, where all were heard.
// atLeast is what the restore itself gave. Where a node was written off that was the only one to know of a restore before, the count
// may be its once more; so the number goes on from the log index, which a later restore begins higher.
func (f *finding) command(atLeast uint16, index uint64) (*kringv1.AdoptCommand, error) {
	if f.restores == math.MaxUint16 {
		return nil, fmt.Errorf("coordinator: the restore count of epochs is at its end, %d", f.restores)
	}
	restores := max(f.restores+1, atLeast)
	cmd := &kringv1.AdoptCommand{Settings: ringpb.FromSettings(f.table.Settings), MemberOverrides: encodeOverrides(f.overrides)}
	for i := range f.table.Members {
		cmd.Members = append(cmd.Members, ringpb.FromMember(&f.table.Members[i]))
	}
	for i := range f.table.Partitions {
		p := f.table.Partitions[i].Clone()
		p.Epoch = ring.NewEpoch(restores, max(p.Epoch.Number(), index)+1)
		cmd.Partitions = append(cmd.Partitions, ringpb.FromPartition(&p))
	}
	return cmd, nil
}
